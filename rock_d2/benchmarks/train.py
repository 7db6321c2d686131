"""An iteration of training: against Detectron2's trainer, and without our parts one by one.

All have the same batches at hand, so that nothing is read.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from rock_d2 import model_zoo
from rock_d2.benchmarks.timing import Goal, report, take_turns
from rock_d2.data import build_train_loader
from rock_d2.engine.optimizer import build_optimizer
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.trainer import RockTrainer

ROUNDS, WARM_UP = 10, 2
NUM_BATCHES = 2
DETECTRON2, OURS = "Detectron2's SimpleTrainer", "rock_d2"


class UnguardedStep(TrainingStep):
    """A step that is taken whatever its gradient is."""

    def _is_bad(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.zeros((), dtype=torch.bool, device=self.device)


def run(args: argparse.Namespace) -> None:
    cfg = training_config(args, "SOLVER.AMP.ENABLED", False)
    batches = list(islice(build_train_loader(cfg), NUM_BATCHES))
    ours = partial(our_step, cfg, batches)
    candidates: dict[str, Callable[[], Any]] = {
        DETECTRON2: detectron2_step(cfg, batches),
        OURS: ours(),
        "rock_d2, up to 5 steps may be skipped": ours(max_skipped_steps=5),
        "rock_d2, steps not guarded": ours(step=UnguardedStep),
        "rock_d2, not channels-last": ours(channels_last=False),
        "rock_d2, optimizer not fused": ours(fused=None),
        "rock_d2, a group for each parameter": ours(merged=False),
        "rock_d2, bf16": ours(precision=torch.bfloat16),
    }
    times = take_turns(
        candidates, rounds=args.rounds or ROUNDS, warm_up=WARM_UP, device=args.device
    )
    images = {name: f"{args.batch_size / median(x):.1f}" for name, x in times.items()}
    report(
        times,
        title=f"an iteration of {args.config}, batch {args.batch_size} of {size_of(cfg)}, "
        f"{args.device}",
        goals=[Goal(OURS, DETECTRON2, 1.01)],
        columns={"images/s": images},
        file=args.json,
    )


def median(seconds: Iterable[float]) -> float:
    return float(torch.tensor(list(seconds)).median())


def size_of(cfg: CfgNode) -> str:
    return " x ".join(map(str, cfg.INPUT.SIZE))


def training_config(args: argparse.Namespace, *settings: Any) -> CfgNode:
    """The config of ``--config`` with random weights; those of the command line come last."""
    cfg = model_zoo.get_config(args.config)
    fixed = ("MODEL.WEIGHTS", "", "MODEL.DEVICE", args.device, "SEED", 1)
    batch = ("SOLVER.IMS_PER_BATCH", args.batch_size, "DATALOADER.NUM_WORKERS", 0)
    cfg.merge_from_list([*fixed, *batch, "DATASETS.TRAIN", (args.dataset,), *settings, *args.opts])
    return cfg


def our_step(
    cfg: CfgNode,
    batches: list[Any],
    *,
    step: type[TrainingStep] = TrainingStep,
    channels_last: bool = True,
    fused: bool | None = True,
    merged: bool = True,
    **settings: Any,
) -> Callable[[], None]:
    model = RockTrainer.build_model(cfg) if channels_last else build_model(cfg)
    optimizer = rebuilt(build_optimizer(cfg, model), fused=fused, merged=merged)
    settings = step_settings(cfg, num_processes=1) | settings
    return step(model.train(), cycle(batches), optimizer, **settings).run


def detectron2_step(cfg: CfgNode, batches: list[Any]) -> Callable[[], None]:
    model = build_model(cfg)
    optimizer = rebuilt(build_optimizer(cfg, model), fused=None, merged=True)
    trainer = SimpleTrainer(model, cycle(batches), optimizer)
    trainer.iter = 0

    return partial(run_in_storage, trainer)


def run_in_storage(trainer: SimpleTrainer) -> None:
    with EventStorage():
        trainer.run_step()


def rebuilt(
    optimizer: torch.optim.Optimizer, *, fused: bool | None, merged: bool
) -> torch.optim.Optimizer:
    """The same optimizer with other ways to step; ``fused`` None leaves them to PyTorch."""
    groups = [
        {**group, "params": parameters, "fused": fused}
        for group in optimizer.param_groups
        for parameters in ([group["params"]] if merged else group["params"])
    ]
    return type(optimizer)(groups, lr=groups[0]["lr"], fused=fused)
