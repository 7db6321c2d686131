"""What a forward pass computes on its way and does not return."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def recorded_encodings(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Inside it, the dict gathers each task's encodings (N, K, h, w) of all N images that are seen.

    An encoding is what a predictor of the neck pools; a neck without tasks leaves none.
    """
    encodings: dict[str, torch.Tensor] = {}

    def record(name: str) -> Any:
        def hook(predictor: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            found = inputs[0].detach()
            # A model may see its batch in parts.
            encodings[name] = torch.cat([encodings[name], found]) if name in encodings else found

        return hook

    predictors = model.neck.predictors.items()
    hooks = [module.register_forward_pre_hook(record(name)) for name, module in predictors]
    try:
        yield encodings
    finally:
        for hook in hooks:
            hook.remove()
