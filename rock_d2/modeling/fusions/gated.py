"""A gate for every value of X."""

from collections.abc import Mapping

import torch
from detectron2.layers import Conv2d, get_norm
from torch import nn

from rock_d2.layers import Extents
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion


@FUSION_REGISTRY.register()
class GatedFusion(DecoderFusion):
    """X + sigmoid(sum over tasks of Dec_t(Enc_t(X))) * X: the tasks raise what they find relevant.

    The decoders are linear, so that gates can close as well as open; a sum of 0 gives 1.5 X. No
    parameters beside the decoders.
    """

    def make_decoder(self, in_channels: int, out_channels: int, norm: str) -> nn.Module:
        norm_layer = get_norm(norm, out_channels)
        return Conv2d(
            in_channels, out_channels, kernel_size=1, bias=norm_layer is None, norm=norm_layer
        )

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        decoded = self.decode(encodings)
        return x + torch.sigmoid(sum(decoded)) * x if decoded else x
