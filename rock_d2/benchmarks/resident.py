"""Training from files and from memory (DATALOADER.RESIDENT), against batches that are at hand.

Of the batches that are augmented on a GPU, "waiting" is the host's part; the GPU's is in the step.
"""

import argparse
import time
from itertools import cycle, islice
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from rock_d2.benchmarks.timing import Goal, report, synchronise
from rock_d2.benchmarks.train import NUM_BATCHES, size_of, training_config
from rock_d2.data import build_train_loader
from rock_d2.engine.optimizer import build_optimizer
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.trainer import RockTrainer

ROUNDS = 5
# Iterations of a round.
STEPS = 8
WORKERS = 2
READY = "batches at hand"


def run(args: argparse.Namespace) -> None:
    steps = {
        READY: new_step(args),
        f"from files, {WORKERS} workers": new_step(args, resident=False, workers=WORKERS),
        f"from memory, {WORKERS} workers": new_step(args, resident=True, workers=WORKERS),
        "from files, no worker": new_step(args, resident=False, workers=0),
        "from memory, no worker": new_step(args, resident=True, workers=0),
        f"from memory, whole batches on {args.device}": new_step(
            args, resident=True, augment_on="device"
        ),
    }
    for step in steps.values():
        step.run()
    rounds = args.rounds or ROUNDS
    times = {name: np.empty(rounds) for name in steps}
    waits = {name: np.empty(rounds) for name in steps}
    for i in range(rounds):
        for name, step in steps.items():
            times[name][i], waits[name][i] = one_round(step)
    cfg = training_config(args)
    report(
        times,
        title=f"an iteration of {args.config}, batch {args.batch_size} of {size_of(cfg)}, "
        f"{args.device}",
        # Data that are 5 % of an iteration make it 1 / 0.95 as long.
        goals=[Goal(name, READY, 1.053) for name in steps if "memory" in name],
        columns={
            "images/s": {n: f"{args.batch_size / np.median(t):.1f}" for n, t in times.items()},
            "waiting": {n: f"{np.median(waits[n] / times[n]):.1%}" for n in steps},
        },
        file=args.json,
    )


def new_step(
    args: argparse.Namespace,
    *,
    resident: bool | None = None,
    workers: int = 0,
    augment_on: str = "host",
) -> TrainingStep:
    """A step with a loader of its own; ``resident`` None has two batches for ever."""
    data = ("DATALOADER.NUM_WORKERS", workers, "DATALOADER.RESIDENT", bool(resident))
    cfg = training_config(args, *data, "DATALOADER.AUGMENT_ON", augment_on)
    loader: Any = build_train_loader(cfg)
    if resident is None:
        loader = cycle(list(islice(loader, NUM_BATCHES)))
    return step_of(cfg, loader)


def step_of(cfg: CfgNode, loader: Any) -> TrainingStep:
    model = RockTrainer.build_model(cfg).train()
    settings = step_settings(cfg, num_processes=1)
    return TrainingStep(model, loader, build_optimizer(cfg, model), **settings)


def one_round(step: TrainingStep) -> tuple[float, float]:
    """Seconds of an iteration, and of these what it waited for its batch."""
    # What workers have ready was made in the time of others.
    for _ in range(2 * WORKERS):
        step.batches.next()
    synchronise(step.device)
    start = time.perf_counter()
    for _ in range(STEPS):
        step.run()
    _, means = step.read_losses()
    return (time.perf_counter() - start) / STEPS, means["data_time"]
