"""Optimizers by name."""

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

# The settings that each takes from SOLVER beside BASE_LR and WEIGHT_DECAY.
OPTIMIZERS = {
    "Adam": (torch.optim.Adam, {}),
    "AdamW": (torch.optim.AdamW, {}),
    "SGD": (torch.optim.SGD, {"momentum": "MOMENTUM", "nesterov": "NESTEROV"}),
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer SOLVER.OPTIMIZER with Detectron2's settings.

    Those are its rules for the weight decay of normalization and biases, BIAS_LR_FACTOR and
    CLIP_GRADIENTS.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in OPTIMIZERS:
        raise ValueError(
            f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}; it must be one of {', '.join(OPTIMIZERS)}"
        )
    kind, extras = OPTIMIZERS[solver.OPTIMIZER]
    parameters = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    return maybe_add_gradient_clipping(cfg, kind)(
        parameters,
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        fused=True,
        **{argument: solver[key] for argument, key in extras.items()},
    )
