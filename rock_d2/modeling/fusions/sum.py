"""Equation 1 of the ROCK paper: X + sum over tasks of Dec_t(Enc_t(X))."""

from collections.abc import Mapping

import torch

from rock_d2.layers import Extents
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion


@FUSION_REGISTRY.register()
class SumFusion(DecoderFusion):
    """X + sum over tasks of Dec_t(Enc_t(X)), without parameters beside the decoders."""

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        return x + sum(self.decode(encodings))
