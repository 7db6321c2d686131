"""Attention-guided distillation (PAD-Net, Xu et al., CVPR 2018) with X as its target."""

from collections.abc import Mapping

import torch
from torch import nn

from rock_d2.layers import Extents
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion


class Attention(nn.Module):
    """sigmoid(W * E) x (W' * E): 3 x 3 convolutions without bias, a gate for every value."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        shape = {"kernel_size": 3, "padding": 1, "bias": False}
        self.gate = nn.Conv2d(in_channels, out_channels, **shape)
        self.message = nn.Conv2d(in_channels, out_channels, **shape)

    def forward(self, encoding: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.gate(encoding)) * self.message(encoding)


@FUSION_REGISTRY.register()
class AttentionFusion(DecoderFusion):
    """X + sum over tasks of sigmoid(W_t * Enc_t(X)) x (W'_t * Enc_t(X)); 18 K C parameters a task.

    ``norm`` is not used: PAD-Net has none here.
    """

    def make_decoder(self, in_channels: int, out_channels: int, norm: str) -> nn.Module:
        return Attention(in_channels, out_channels)

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        return x + sum(self.decode(encodings))
