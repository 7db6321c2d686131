"""Learns a handful of images by heart; tools/overfit.py runs it."""

import argparse
import time

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger
from tabulate import tabulate

from rock_d2.config import load_config, merge_pairs
from rock_d2.data import RockDatasetMapper, build_test_loader, build_train_loader
from rock_d2.data.loader import check_registered
from rock_d2.evaluation.build import build_evaluator

SUBSET = "overfitted"


def setup(args: argparse.Namespace) -> CfgNode:
    cfg = load_config(args.config_file)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    register_subset(cfg.DATASETS.TRAIN[0], args.num_images)
    cfg.SEED = 0
    cfg.OUTPUT_DIR = f"output/overfit_{args.num_images}"
    cfg.SOLVER.IMS_PER_BATCH = args.num_images
    cfg.DATASETS.TRAIN = (SUBSET,)
    cfg.DATALOADER.NUM_WORKERS = 0
    # The same pixels in every iteration.
    cfg.INPUT.MIN_IOU_CROP.ENABLED = False
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.COLOR_AUG.LIGHTING = 0.0
    merge_pairs(cfg, args.opts)
    return cfg


def register_subset(name: str, num_images: int) -> None:
    records = DatasetCatalog.get(name)
    if not 0 < num_images <= len(records):
        raise ValueError(f"--num-images is {num_images}; {name} has {len(records)}")
    chosen = [records[i * len(records) // num_images] for i in range(num_images)]
    facts = MetadataCatalog.get(name).as_dict()
    # Without a JSON of its own, Detectron2's evaluator writes one from the dataset dicts.
    facts = {key: value for key, value in facts.items() if key not in ("name", "json_file")}
    DatasetCatalog.register(SUBSET, lambda: chosen)
    MetadataCatalog.get(SUBSET).set(**facts)


def train(model: torch.nn.Module, cfg: CfgNode, args: argparse.Namespace) -> None:
    mapper = RockDatasetMapper(cfg, is_train=True)
    batch = next(iter(build_train_loader(cfg, mapper=mapper)))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.iterations)
    model.train()
    start = time.perf_counter()
    for iteration in range(1, args.iterations + 1):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        schedule.step()
        if iteration % 25 == 0 or iteration == 1:
            values = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"{iteration} ({time.perf_counter() - start:.0f} s): {values}", flush=True)


def evaluate(model: torch.nn.Module, cfg: CfgNode) -> dict[str, float]:
    results = inference_on_dataset(
        model, build_test_loader(cfg, SUBSET), build_evaluator(cfg, SUBSET)
    )
    return {
        f"{task}/{metric}": value
        for task, metrics in results.items()
        for metric, value in metrics.items()
        if not metric.startswith("AP-")
    }


def overfit(args: argparse.Namespace) -> None:
    cfg = setup(args)
    setup_logger(output=cfg.OUTPUT_DIR)
    torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    before = evaluate(model, cfg)
    train(model, cfg, args)
    after = evaluate(model, cfg)
    rows = [(name, before.get(name), value) for name, value in after.items()]
    print(tabulate(rows, headers=["", "before", "after"], floatfmt=".3f"))
