"""How ROCK merges the encodings of the auxiliary tasks into the detector's features.

X is (N, C, H, W), the encoding of a task with width K is (N, K, H, W).
"""

from collections.abc import Collection, Mapping

import torch
from detectron2.layers import Conv2d, get_norm
from fvcore.common.registry import Registry
from torch import nn
from torch.nn import functional as F

from rock_d2.layers.init import own_seed

FUSION_REGISTRY = Registry("FUSION")
FUSION_REGISTRY.__doc__ = """
Fusions by the name that MODEL.ROCK.FUSION.NAME gives them: modules built from ``out_channels``,
``encoding_channels`` and ``norm`` that take X and the encodings to the refined X.
"""


@FUSION_REGISTRY.register()
class NoFusion(nn.Module):
    """Table 1, third row: the block learns the tasks and the detector's features stay as they are.

    The decoders belong to the fusion, so this one has no parameter at all.
    """

    def __init__(self, *, out_channels: int, encoding_channels: Mapping[str, int], norm: str):
        super().__init__()

    def forward(self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return x


class DecoderFusion(nn.Module):
    """Fusions that decode each encoding to the space of X first.

    Attributes:
        switched_off: the tasks whose decoders are left out at test time; none unless somebody
            wants to see what they bring.
    """

    def __init__(self, *, out_channels: int, encoding_channels: Mapping[str, int], norm: str):
        """
        Args:
            out_channels: C, the width of X.
            encoding_channels: K of each task by its name.
            norm: normalisation after each convolution, a name that Detectron2's get_norm knows.
        """
        super().__init__()
        self.switched_off: Collection[str] = ()
        self.decoders = nn.ModuleDict()
        for task, channels in encoding_channels.items():
            with own_seed(f"decoders.{task}"):
                self.decoders[task] = Conv2d(
                    channels,
                    out_channels,
                    kernel_size=1,
                    bias=norm == "",
                    norm=get_norm(norm, out_channels),
                    activation=F.relu,
                )

    def decode(self, encodings: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        off = () if self.training else self.switched_off
        return [
            decoder(encodings[task]) for task, decoder in self.decoders.items() if task not in off
        ]


@FUSION_REGISTRY.register()
class SumFusion(DecoderFusion):
    """Equation 1: X + sum over tasks of Dec_t(Enc_t(X))."""

    def forward(self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        for decoded in self.decode(encodings):
            x = x + decoded
        return x


@FUSION_REGISTRY.register()
class ProductFusion(DecoderFusion):
    """Table 5, element-wise product: X * product over tasks of (1 + Dec_t(Enc_t(X))).

    The paper calls it a gate and gives no formula. X * Dec would zero about half of the features
    at the start, since decoders end in a ReLU; the 1 keeps the residual property of sec. 2.1,
    that a silent decoder leaves X as it is. For a single task this is X + X * Dec(Enc(X)).
    """

    def forward(self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        for decoded in self.decode(encodings):
            x = x + x * decoded
        return x


def build_fusion(
    name: str,
    *,
    out_channels: int,
    encoding_channels: Mapping[str, int],
    norm: str,
    switched_off: Collection[str] = (),
) -> nn.Module:
    """The fusion of that name, for features of ``out_channels``."""
    fusion = FUSION_REGISTRY.get(name)(
        out_channels=out_channels, encoding_channels=encoding_channels, norm=norm
    )
    if switched_off:
        if not isinstance(fusion, DecoderFusion):
            raise ValueError(f"MODEL.ROCK.FUSION.SWITCHED_OFF: {name} has no decoders")
        fusion.switched_off = frozenset(switched_off)
    return fusion
