"""Optimizers by name."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

# PyTorch decorates these so that torch.compile skips them; the decorator imports the compiler.
WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimizer for steps that nobody compiles."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


# What each takes from SOLVER beside BASE_LR and WEIGHT_DECAY.
OPTIMIZERS = {
    "Adam": (without_compiler(torch.optim.Adam), {}),
    "AdamW": (without_compiler(torch.optim.AdamW), {}),
    "SGD": (without_compiler(torch.optim.SGD), {"momentum": "MOMENTUM", "nesterov": "NESTEROV"}),
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer SOLVER.OPTIMIZER with Detectron2's settings.

    Those are its rules for the weight decay of normalisation and biases, BIAS_LR_FACTOR and
    CLIP_GRADIENTS.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in OPTIMIZERS:
        raise ValueError(
            f"SOLVER.OPTIMIZER: {solver.OPTIMIZER!r} is none of {', '.join(OPTIMIZERS)}"
        )
    kind, extras = OPTIMIZERS[solver.OPTIMIZER]
    parameters = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    optimizer = maybe_add_gradient_clipping(cfg, kind)(
        parameters,
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        # Besides being the fastest, only these know by themselves when not to step.
        fused=True,
        **{argument: solver[key] for argument, key in extras.items()},
    )
    if solver.OPTIMIZER == "SGD" and solver.MOMENTUM:
        # A first step that is not taken would leave momenta as memory happens to be.
        for parameter in parameters_of(optimizer):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Takes over a stored state, also one of an optimizer or a model in another memory format.

    Fused steps pair numbers by their place in memory and would not notice.
    """
    groups = [
        {**group, "fused": own.get("fused")}
        for group, own in zip(stored["param_groups"], optimizer.param_groups, strict=False)
    ]
    optimizer.load_state_dict({**stored, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
