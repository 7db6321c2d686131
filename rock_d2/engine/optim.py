"""Optimizers and learning rates by name."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fvcore.common.param_scheduler import ParamScheduler, PolynomialDecayParamScheduler
from torch import nn

from rock_d2.registry import check_choice

logger = logging.getLogger(__name__)

# The settings that each takes from SOLVER beside BASE_LR and WEIGHT_DECAY.
OPTIMIZERS = {
    "Adam": (torch.optim.Adam, {}),
    "AdamW": (torch.optim.AdamW, {}),
    "SGD": (torch.optim.SGD, {"momentum": "MOMENTUM", "nesterov": "NESTEROV"}),
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer SOLVER.OPTIMIZER with Detectron2's settings.

    Those are its rules for the weight decay of normalization and biases, BIAS_LR_FACTOR and
    CLIP_GRADIENTS; and the factors of SOLVER.LR_MULTIPLIERS.
    """
    solver = cfg.SOLVER
    check_choice(solver.OPTIMIZER, OPTIMIZERS, setting="SOLVER.OPTIMIZER")
    kind, extras = OPTIMIZERS[solver.OPTIMIZER]
    parameters = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    return maybe_add_gradient_clipping(cfg, kind)(
        with_multipliers(parameters, model, solver.LR_MULTIPLIERS),
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        # If its first fp16 step overflows, a fused SGD keeps uninitialised momentum.
        fused=solver.OPTIMIZER != "SGD" or None,
        **{argument: solver[key] for argument, key in extras.items()},
    )


def with_multipliers(
    groups: Iterable[dict[str, Any]], model: nn.Module, multipliers: Sequence[tuple[str, float]]
) -> list[dict[str, Any]]:
    """Return groups of the model's parameters whose learning rates have their parts' factors."""
    # As in checkpoints, where the modules' names may be others.
    names = {value: name for name, value in model.state_dict(keep_vars=True).items()}
    for part, _ in multipliers:
        if not any(f"{name}.".startswith(f"{part}.") for name in names.values()):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names.values()))
            raise ValueError(
                f"SOLVER.LR_MULTIPLIERS: {part!r} is no part of the model ({parts}, or one within "
                "these)"
            )
    found = []
    for group in groups:
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            name = f"{names[parameter]}."
            factors = [1.0, *(f for part, f in multipliers if name.startswith(f"{part}."))]
            by_factor.setdefault(factors[-1], []).append(parameter)
        found += [group | {"params": p, "lr": f * group["lr"]} for f, p in by_factor.items()]
    return found


class Staircase(ParamScheduler):
    """Another schedule whose value stays the same for ``period`` iterations."""

    def __init__(self, schedule: ParamScheduler, *, period: int, max_iter: int):
        if period < 1:
            raise ValueError(f"SOLVER.POLY.PERIOD: {period} iterations are none")
        self.schedule, self.period, self.max_iter = schedule, period, max_iter

    def __call__(self, where: float) -> float:
        iteration = round(where * self.max_iter)
        return self.schedule((iteration - iteration % self.period) / self.max_iter)


def build_lr_scheduler(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule SOLVER.LR_SCHEDULER_NAME: "WarmupPolyLR" or one of Detectron2's."""
    solver = cfg.SOLVER
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        logger.warning(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS} and SOLVER.MAX_ITER {solver.MAX_ITER}: "
            "the training ends before the learning rate has reached SOLVER.BASE_LR"
        )
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_detectron2_scheduler(cfg, optimizer)
    if solver.POLY.POWER <= 0:
        raise ValueError(f"SOLVER.POLY.POWER: {solver.POLY.POWER} is not above 0")
    schedule = Staircase(
        PolynomialDecayParamScheduler(1.0, solver.POLY.POWER),
        period=solver.POLY.PERIOD,
        max_iter=solver.MAX_ITER,
    )
    warmup = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    schedule = WarmupParamScheduler(schedule, solver.WARMUP_FACTOR, warmup, solver.WARMUP_METHOD)
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)
