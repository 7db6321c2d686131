"""An iteration of whole trainings, with hooks, log and checkpoints: RockTrainer's and Detectron2's.

They take the same batches of our loader, train the same model by the same rule and evaluate
nothing. Detectron2's DefaultTrainer has Detectron2's hooks, writers and checkpoints, which have
no checksums (and in v0.6 no state of the optimizer). Each training writes one checkpoint, of which
an iteration bears the share that SOLVER.CHECKPOINT_PERIOD gives it.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.modeling import build_model
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from torch.utils.data import DataLoader

from rock_d2.benchmarks.timing import Goal, report, synchronise
from rock_d2.benchmarks.train import rebuilt, size_of, training_config
from rock_d2.data import build_train_loader
from rock_d2.engine.optimizer import build_optimizer
from rock_d2.engine.trainer import RockTrainer

ROUNDS = 4
# In every 20th iteration either trainer writes its log. The first ones are not timed.
STEPS, WARM_UP = 20, 2
DETECTRON2, OURS = "Detectron2's DefaultTrainer", "RockTrainer"
RELIABILITY = "RockTrainer, model and optimizer as in Detectron2's"


class PlainParts:
    """The model as Detectron2 builds it, and PyTorch's choice of the optimizer's step."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return rebuilt(build_optimizer(cfg, model), fused=None, merged=True)


class PlainTrainer(PlainParts, DefaultTrainer):
    """Detectron2's trainer, hooks and checkpoints."""


class ReliableTrainer(PlainParts, RockTrainer):
    """Ours without what makes its step faster."""


class Clock(HookBase):
    """When each iteration has ended, and what checkpoints have taken; the last of the hooks."""

    def __init__(self, checkpointer: Checkpointer, device: str):
        """
        Args:
            checkpointer: whose ``save`` is timed from now on.
            device: of the training.
        """
        self._save, checkpointer.save = checkpointer.save, self.save
        self._device = torch.device(device)
        self.ends: list[float] = []
        self.saving = 0.0

    def after_step(self) -> None:
        if self.trainer.iter + 1 in (WARM_UP, self.trainer.max_iter):
            synchronise(self._device)
        self.ends.append(time.perf_counter())

    def save(self, name: str, **extras: Any) -> None:
        synchronise(self._device)
        start = time.perf_counter()
        self._save(name, **extras)
        self.saving += time.perf_counter() - start

    def seconds(self) -> tuple[float, float]:
        """Of an iteration but for the checkpoint, and of the checkpoint."""
        ends = self.ends[WARM_UP - 1 :]
        return (ends[-1] - ends[0] - self.saving) / (len(ends) - 1), self.saving


def run(args: argparse.Namespace) -> None:
    # Detectron2 has no averaged weights, and mixed precision on a GPU only.
    plain = ("MODEL_EMA.ENABLED", False, "SOLVER.AMP.ENABLED", False)
    cfg = training_config(args, "DATASETS.TEST", (), "SOLVER.MAX_ITER", STEPS, *plain)
    loader = build_train_loader(cfg)
    trainers = {DETECTRON2: PlainTrainer, OURS: RockTrainer, RELIABILITY: ReliableTrainer}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for _ in range(args.rounds or ROUNDS):
        for name, trainer in trainers.items():
            found[name].append(seconds(sharing(trainer, loader), cfg))
    steps, saving = np.moveaxis(np.array(list(found.values())), 2, 0)
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    report(
        dict(zip(found, steps + saving / period, strict=True)),
        title=f"an iteration of training {args.config}, batch {args.batch_size} of "
        f"{size_of(cfg)}, a checkpoint every {period} iterations, {args.device}",
        goals=[Goal(name, DETECTRON2, 1.01) for name in (OURS, RELIABILITY)],
        columns={
            "a checkpoint, ms": {
                name: f"{1e3 * np.median(x):.0f}" for name, x in zip(found, saving, strict=True)
            }
        },
        file=args.json,
    )


def seconds(trainer_class: type[DefaultTrainer], cfg: CfgNode) -> tuple[float, float]:
    """Of an iteration of a new training but for its checkpoint, and of the checkpoint."""
    with new_training(trainer_class, cfg) as trainer:
        clock = Clock(trainer.checkpointer, cfg.MODEL.DEVICE)
        trainer.register_hooks([clock])
        trainer.train()
    return clock.seconds()


@contextmanager
def new_training(trainer_class: type[DefaultTrainer], cfg: CfgNode) -> Iterator[DefaultTrainer]:
    """A training that may begin, in a folder of its own, which tells its log only."""
    logging.disable(logging.WARNING)
    cfg = cfg.clone()
    try:
        with TemporaryDirectory() as folder:
            cfg.OUTPUT_DIR = folder
            trainer = trainer_class(cfg)
            trainer.resume_or_load(resume=False)
            yield trainer
    finally:
        logging.disable(logging.NOTSET)


def sharing(trainer_class: type[DefaultTrainer], loader: DataLoader) -> type[DefaultTrainer]:
    """The trainer with a loader that others have, too; each begins with its first batch."""

    class Sharing(trainer_class):
        @classmethod
        def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
            return loader

    return Sharing
