#!/usr/bin/env python
"""Trains on a handful of images until the model knows them: one that cannot is broken.

    python tools/overfit.py --config-file configs/rock/rock_rooms.yaml --num-images 8

Prints the metrics on the same images before and after. Settings can follow as KEY VALUE pairs.
"""

import argparse

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger
from tabulate import tabulate

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.config import load_config
from rock_d2.data import build_test_loader, build_train_loader
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.evaluation.build import build_evaluator
from rock_d2.visualization import evenly_spaced

SUBSET = "overfitted"


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    config = "yaml file of the model and its training set (default: %(default)s)"
    add("--config-file", default="rock/rock_rooms.yaml", metavar="FILE", help=config)
    images = "images, evenly spaced over the training set (default: %(default)s)"
    add("--num-images", type=int, default=8, metavar="N", help=images)
    iterations = "training steps, each on all of these images (default: %(default)s)"
    add("--iterations", type=int, default=300, metavar="N", help=iterations)
    rate = "Adam's learning rate at first; it falls to zero along a cosine (default: %(default)s)"
    add("--lr", type=float, default=1e-3, help=rate)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as MODEL.DEVICE cuda")
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """Return the config of a training that sees the same pixels in every iteration."""
    cfg = load_config(args.config_file)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    register_subset(cfg.DATASETS.TRAIN[0], args.num_images)
    cfg.SEED = 0
    cfg.OUTPUT_DIR = f"output/overfit_{args.num_images}"
    cfg.SOLVER.IMS_PER_BATCH = args.num_images
    cfg.DATASETS.TRAIN = (SUBSET,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_IOU_CROP.ENABLED = False
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.COLOR_AUG.LIGHTING = 0.0
    return load_config(cfg, args.opts)


def register_subset(name: str, num_images: int) -> None:
    records = DatasetCatalog.get(name)
    if not 0 < num_images <= len(records):
        raise ValueError(f"--num-images is {num_images}; {name} has {len(records)}")
    metadata = MetadataCatalog.get(name)
    # Without a JSON file of its own, the evaluator writes one from the dataset dicts.
    facts = metadata.as_dict() | {"thing_classes": metadata.get("thing_classes")}
    facts = {key: x for key, x in facts.items() if key not in ("name", "files", "json_file")}
    DatasetCatalog.register(SUBSET, lambda: evenly_spaced(records, num_images))
    MetadataCatalog.get(SUBSET).set(**facts)


def train(model: torch.nn.Module, cfg: CfgNode, *, iterations: int, lr: float) -> None:
    batch = next(iter(build_train_loader(cfg)))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    model.train()
    for iteration in range(1, iterations + 1):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        schedule.step()
        if iteration % 25 == 0 or iteration == 1:
            values = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"{iteration}: {values}", flush=True)


def evaluate(model: torch.nn.Module, cfg: CfgNode) -> dict[str, float]:
    """Return the metrics but those of single classes, by ``<task>/<metric>``."""
    results = inference_on_dataset(
        model, build_test_loader(cfg, SUBSET), build_evaluator(cfg, SUBSET)
    )
    return {
        f"{task}/{metric}": value
        for task, metrics in results.items()
        for metric, value in metrics.items()
        if "-" not in metric
    }


def main(args: argparse.Namespace) -> None:
    cfg = setup(args)
    setup_logger(output=cfg.OUTPUT_DIR)
    torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
    before = evaluate(model, cfg)
    train(model, cfg, iterations=args.iterations, lr=args.lr)
    rows = [(name, before.get(name), value) for name, value in evaluate(model, cfg).items()]
    print(tabulate(rows, headers=["", "before", "after"], floatfmt=".3f"))


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
