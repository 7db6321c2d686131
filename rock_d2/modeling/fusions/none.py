"""No fusion: X."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from rock_d2.layers import Extents
from rock_d2.modeling.fusions.base import FUSION_REGISTRY


@FUSION_REGISTRY.register()
class NoFusion(nn.Module):
    """Table 1, third row: the block learns the tasks and the detector's features stay as they are.

    The decoders belong to the fusion, so this one has no parameter at all.
    """

    def __init__(self, *, switched_off: Collection[str] = (), **settings: Any):
        super().__init__()
        if switched_off:
            raise ValueError("MODEL.ROCK.FUSION.SWITCHED_OFF: NoFusion has no decoders")

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        return x
