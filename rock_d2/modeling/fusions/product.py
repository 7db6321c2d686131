"""Table 5 of the ROCK paper, element-wise product."""

from collections.abc import Mapping

import torch

from rock_d2.layers import Extents
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion


@FUSION_REGISTRY.register()
class ProductFusion(DecoderFusion):
    """X * product over tasks of (1 + Dec_t(Enc_t(X))), without parameters beside the decoders.

    The paper calls it a gate and gives no formula. X * Dec would zero about half of the features
    at the start, since decoders end in a ReLU; the 1 keeps the residual property of sec. 2.1,
    that a silent decoder leaves X as it is. For a single task this is X + X * Dec(Enc(X)).
    """

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        for decoded in self.decode(encodings):
            x = x + x * decoded
        return x
