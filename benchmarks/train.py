"""An iteration of training: against Detectron2's trainers, and without our parts one by one.

Most have the same batches at hand, so that nothing is read. Those ``with data`` have loaders of
their own, Detectron2's as it comes with its mapper, which maps images and boxes only.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.layers import Conv2d
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from rock_d2 import model_zoo
from benchmarks import infer
from benchmarks.data import detectron2_mapper
from benchmarks.profiling import print_profiles
from benchmarks.roofline import Work, count_work, fraction, measure_machine
from benchmarks.timing import Goal, chosen, report, spread, take_turns
from rock_d2.config import merge_pairs
from rock_d2.data import build_train_loader
from rock_d2.engine.frozen_norm import ConvWithFrozenNorm
from rock_d2.engine.graph import GraphStep
from rock_d2.engine.optim import build_optimizer
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.trainer import RockTrainer

ROUNDS, WARM_UP = 10, 2
# On a GPU, where a graph is recorded after some steps of each shape.
GPU_WARM_UP = 10
NUM_BATCHES = 2
# Iterations that are timed at once where loader workers run ahead.
STEPS = 8
DETECTRON2, OURS, BF16 = "Detectron2's SimpleTrainer", "rock_d2", "rock_d2, bf16"
NORMS_APART = "rock_d2, frozen normalisation apart"
DETECTRON2_WITH_DATA = "with data: Detectron2's loader, mapper and SimpleTrainer"
OURS_WITH_DATA = "with data: rock_d2, from files"


class UnguardedStep(TrainingStep):
    """A step that is taken whatever its gradient is."""

    def _is_bad(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.zeros((), dtype=torch.bool, device=self.device)


class WithData:
    """Iterations on batches that a loader makes meanwhile."""

    def __init__(
        self,
        loader: Iterable[Any],
        build: Callable[[Iterator[Any]], Callable[[], None]],
        num_workers: int,
    ):
        """
        Args:
            loader: of batches.
            build: from batches to what takes a step.
            num_workers: of the loader.
        """
        self.batches = iter(loader)
        self.step = build(self.batches)
        # Each worker has two batches ready, which it made in the time of others.
        self.num_ready = 2 * num_workers
        self.num_steps = STEPS if num_workers else 1

    def prepare(self) -> None:
        for _ in range(self.num_ready):
            next(self.batches)

    def __call__(self) -> None:
        for _ in range(self.num_steps):
            self.step()


def run(args: argparse.Namespace) -> None:
    cfg = training_config(args, "SOLVER.AMP.ENABLED", False)
    rows = rows_of(args, cfg)
    candidates = {name: rows[name]() for name in chosen(rows, args.only)}
    warm_up = WARM_UP if args.device == "cpu" else GPU_WARM_UP
    times = take_turns(
        candidates, rounds=args.rounds or ROUNDS, warm_up=warm_up, device=args.device
    )
    times = {name: t / getattr(candidates[name], "num_steps", 1) for name, t in times.items()}
    images = {name: f"{args.batch_size / spread(x).median:.1f}" for name, x in times.items()}
    report(
        times,
        title=f"an iteration of {args.config}, batch {args.batch_size} of {size_of(cfg)}, "
        f"{args.device}",
        goals=[Goal(OURS, DETECTRON2, 1.01), Goal(OURS_WITH_DATA, DETECTRON2_WITH_DATA, 1.0)],
        columns={"images/s": images, **roofline(candidates, times, args.device)},
        file=args.json,
    )
    if args.profile:
        print_profiles(candidates, args.device)


def rows_of(args: argparse.Namespace, cfg: CfgNode) -> dict[str, Callable[[], Any]]:
    """What builds each candidate, by its name."""
    batches = list(islice(build_train_loader(cfg), NUM_BATCHES))
    ours = partial(partial, our_step, cfg, batches)
    workers = cfg.DATALOADER.NUM_WORKERS
    rows = {
        DETECTRON2: partial(detectron2_step, cfg, batches),
        OURS: ours(),
        "rock_d2, up to 5 steps may be skipped": ours(max_skipped_steps=5),
        "rock_d2, steps not guarded": ours(step=UnguardedStep),
        "rock_d2, not channels-last": ours(channels_last=False),
        "rock_d2, optimizer not fused": ours(fused=None),
        "rock_d2, a group for each parameter": ours(merged=False),
        BF16: ours(precision=torch.bfloat16),
        DETECTRON2_WITH_DATA: lambda: WithData(
            detectron2_loader(cfg), partial(detectron2_step, cfg), num_workers=workers
        ),
        OURS_WITH_DATA: partial(with_our_data, cfg, resident=False),
        "with data: rock_d2, from memory": partial(with_our_data, cfg, resident=True),
    }
    if cfg.MODEL.RESNETS.NORM == "FrozenBN":
        rows[NORMS_APART] = ours(norms_apart=True)
    if cfg.MODEL.DEVICE != "cpu":
        rows |= gpu_rows(cfg, batches)
    for name in infer.DETECTRON2:
        rows[f"with data: Detectron2's {name}"] = partial(detectron2_model, name, args, cfg)
    return rows


def gpu_rows(cfg: CfgNode, batches: list[Any]) -> dict[str, Callable[[], Any]]:
    compiled = cfg.clone()
    compiled.SOLVER.COMPILE = True
    fastest = {"step": GraphStep, "precision": torch.bfloat16}
    return {
        "rock_d2, bf16, CUDA graph": partial(our_step, cfg, batches, **fastest),
        "rock_d2, bf16, compiled, CUDA graph": partial(our_step, compiled, batches, **fastest),
        "with data: rock_d2, bf16, compiled, CUDA graph, from memory": partial(
            with_our_data, compiled, resident=True, **fastest
        ),
    }


def roofline(
    candidates: Mapping[str, Callable[[], Any]], times: Mapping[str, Any], device: str
) -> dict[str, dict[str, str]]:
    """Columns on what a step does and how near that comes to what the device can."""
    work: dict[str, Work] = {}
    reached: dict[str, str] = {}
    machines = {}
    for name in candidates:
        # What is compiled or recorded does the same.
        counted = BF16 if BF16 in name else name
        precision = torch.bfloat16 if counted == BF16 else torch.float32
        if counted not in candidates or counted not in (DETECTRON2, OURS, NORMS_APART, BF16):
            continue
        if precision not in machines:
            machines[precision] = measure_machine(device, precision)
        work[name] = work.get(counted) or count_work(candidates[counted])
        machine = machines[precision]
        rate = f"{fraction(machine, work[name], times[name]):.0%}"
        reached[name] = f"{rate} of {machine.flops / 1e9:.0f} GFLOP/s"
    return {
        "GFLOPs": {name: f"{w.flops / 1e9:.1f}" for name, w in work.items()},
        "GB": {name: f"{w.bytes / 1e9:.2f}" for name, w in work.items()},
        "of the roofline": reached,
    }


def size_of(cfg: CfgNode) -> str:
    return " x ".join(map(str, cfg.INPUT.SIZE))


def training_config(args: argparse.Namespace, *settings: Any) -> CfgNode:
    """The config of ``--config`` with random weights; those of the command line come last."""
    cfg = model_zoo.get_config(args.config)
    fixed = ("MODEL.WEIGHTS", "", "MODEL.DEVICE", args.device, "SEED", 1)
    batch = ("SOLVER.IMS_PER_BATCH", args.batch_size, "DATALOADER.NUM_WORKERS", 0)
    cfg.merge_from_list([*fixed, *batch, "DATASETS.TRAIN", (args.dataset,), *settings])
    merge_pairs(cfg, args.opts)
    return cfg


def our_step(
    cfg: CfgNode,
    batches: Iterable[Any],
    *,
    step: type[TrainingStep] = TrainingStep,
    channels_last: bool = True,
    norms_apart: bool = False,
    fused: bool | None = True,
    merged: bool = True,
    **settings: Any,
) -> Callable[[], None]:
    """What takes a step; a list of batches is gone through again and again."""
    model = RockTrainer.build_model(cfg)
    if not channels_last:
        model.to(memory_format=torch.contiguous_format)
    if norms_apart:
        separate_norms(model)
    optimizer = rebuilt(build_optimizer(cfg, model), fused=fused, merged=merged)
    settings = step_settings(cfg, num_processes=1) | settings
    return step(model.train(), endless(batches), optimizer, **settings).run


def separate_norms(model: nn.Module) -> None:
    """Undoes ``merge_frozen_norms``."""
    for module in model.modules():
        if type(module) is ConvWithFrozenNorm:
            module.__class__ = Conv2d


def endless(batches: Iterable[Any]) -> Iterable[Any]:
    return cycle(batches) if isinstance(batches, list) else batches


def detectron2_step(cfg: CfgNode, batches: Iterable[Any]) -> Callable[[], None]:
    """Detectron2's trainer of the same model; with mixed precision where it has that, on a GPU."""
    model = build_model(cfg)
    optimizer = rebuilt(build_optimizer(cfg, model), fused=None, merged=True)
    return trained_by_detectron2(cfg, model, batches, optimizer)


def trained_by_detectron2(
    cfg: CfgNode, model: nn.Module, batches: Iterable[Any], optimizer: torch.optim.Optimizer
) -> Callable[[], None]:
    mixed = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE != "cpu"
    trainer = (AMPTrainer if mixed else SimpleTrainer)(model, endless(batches), optimizer)
    trainer.iter = 0
    return partial(run_in_storage, trainer)


def run_in_storage(trainer: SimpleTrainer) -> None:
    with EventStorage():
        trainer.run_step()


def with_our_data(cfg: CfgNode, *, resident: bool, **settings: Any) -> WithData:
    cfg = cfg.clone()
    cfg.DATALOADER.RESIDENT = resident
    loader = build_train_loader(cfg)
    return WithData(loader, partial(our_step, cfg, **settings), num_workers=loader.num_workers)


def detectron2_loader(cfg: CfgNode) -> Iterable[Any]:
    return build_detection_train_loader(cfg, mapper=detectron2_mapper(cfg))


def detectron2_model(name: str, args: argparse.Namespace, cfg: CfgNode) -> WithData:
    """One of Detectron2's detectors as it trains them, on images of our size."""
    model = infer.build(name, args)
    # From random weights with frozen normalisation any step of another length diverges.
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0)
    return WithData(
        detectron2_loader(cfg),
        lambda batches: trained_by_detectron2(cfg, model, batches, optimizer),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


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
