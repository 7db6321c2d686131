"""A training step on batches at hand, against Detectron2's trainer and RetinaNet."""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from benchmarks.timing import report, take_turns
from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.data import build_train_loader
from rock_d2.engine.step import TrainingStep
from rock_d2.engine.trainer import RockTrainer
from rock_d2.modeling.balancing import build_balancer

ROUNDS, WARM_UP = 10, 2
NUM_BATCHES = 2
# On the same images.
RETINANETS = {
    "rock_nyuv2.yaml": "detectors/retinanet_plain_nyuv2.yaml",
    "rooms_scratch/rock_rooms.yaml": "rooms_scratch/retinanet_plain_rooms.yaml",
}
OTHER_RETINANET = "detectors/retinanet_plain_rooms.yaml"


def run(args: argparse.Namespace) -> None:
    config = args.config[0]
    cfg = training_config(args, config, **{"SOLVER.AMP.ENABLED": False})
    batches = list(islice(build_train_loader(cfg), NUM_BATCHES))
    rows = {
        "Detectron2's SimpleTrainer": partial(detectron2_step, cfg, batches),
        "rock_d2": partial(our_step, cfg, batches),
        "rock_d2, bf16": partial(our_step, cfg, batches, **{"SOLVER.AMP.ENABLED": True}),
    }
    # From random weights with frozen normalisation any longer step diverges.
    still = {"SOLVER.BASE_LR": 0.0}
    retinanet = training_config(args, RETINANETS.get(config, OTHER_RETINANET), **still)
    rows["Detectron2's SimpleTrainer, RetinaNet"] = partial(detectron2_step, retinanet, batches)
    times = take_turns(
        {name: build() for name, build in rows.items()},
        rounds=args.rounds or ROUNDS,
        warm_up=WARM_UP,
        device=args.device,
    )
    size = " x ".join(map(str, cfg.INPUT.SIZE))
    title = f"A training step of {config}, batch {args.batch_size} of {size}, {args.device}"
    report(times, title=title, images=args.batch_size, file=args.json)


def training_config(args: argparse.Namespace, file: str, **settings: Any) -> CfgNode:
    """Return a config with random weights; the settings of the command line come last."""
    fixed = {
        "MODEL.WEIGHTS": "",
        "MODEL.DEVICE": args.device,
        "SEED": 1,
        "SOLVER.IMS_PER_BATCH": args.batch_size,
        "DATALOADER.NUM_WORKERS": 0,
        **settings,
    }
    pairs = [part for pair in fixed.items() for part in pair]
    return load_config(model_zoo.get_config_file(file), [*pairs, *args.opts])


def our_step(cfg: CfgNode, batches: list[Any], **settings: Any) -> Callable[[], None]:
    cfg = load_config(cfg, [part for pair in settings.items() for part in pair])
    model = RockTrainer.build_model(cfg).train()
    optimizer = RockTrainer.build_optimizer(cfg, model)
    balancer = build_balancer(cfg).to(cfg.MODEL.DEVICE)
    return TrainingStep(cfg, model, cycle(batches), optimizer, balancer).run_step


def detectron2_step(cfg: CfgNode, batches: list[Any]) -> Callable[[], None]:
    """Return the step of Detectron2's trainer with the model as Detectron2 builds it."""
    model = build_model(cfg).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.SOLVER.BASE_LR)
    trainer = SimpleTrainer(model, cycle(batches), optimizer)
    trainer.iter = 0
    return partial(run_in_storage, trainer)


def run_in_storage(trainer: SimpleTrainer) -> None:
    with EventStorage():
        trainer.run_step()
