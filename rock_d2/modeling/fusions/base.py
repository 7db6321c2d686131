"""The contract of fusions: how ROCK merges the encodings of the tasks into the detector's features.

X is (N, C, H, W), the encoding of a task with width K is (N, K, H, W).
"""

from collections.abc import Collection, Mapping

import torch
from detectron2.layers import Conv2d, get_norm
from fvcore.common.registry import Registry
from torch import nn
from torch.nn import functional as F

from rock_d2.layers import own_seed

FUSION_REGISTRY = Registry("FUSION")
FUSION_REGISTRY.__doc__ = """
Fusions by the name that MODEL.ROCK.FUSION.NAME gives them: modules built from ``out_channels``,
``encoding_channels``, ``norm``, ``switched_off`` and ``image_tasks`` that take X, the encodings and
the shares of a padded batch that images fill (``extents``, None: all) to the refined X.
"""


class DecoderFusion(nn.Module):
    """Decodes each encoding to the space of X, Dec_t(Enc_t(X)); subclasses merge these into X.

    Parameters of a decoder: K C weights and the normalisation's 2 C, or C biases without one.

    Attributes:
        trains_encodings: whether the detector's gradient passes to the encodings.
    """

    trains_encodings = True

    def __init__(
        self,
        *,
        out_channels: int,
        encoding_channels: Mapping[str, int],
        norm: str,
        switched_off: Collection[str] = (),
        image_tasks: Collection[str] = (),
    ):
        """Take C, the K of each task by its name, and the name of a norm for get_norm.

        Decoders of ``switched_off`` tasks are left out at test time, to see what they bring;
        ``image_tasks`` describe the whole image, and K is their number of classes.
        """
        super().__init__()
        self.switched_off = frozenset(switched_off)
        self.image_tasks = tuple(image_tasks)
        unknown = self.switched_off - set(encoding_channels)
        if unknown:
            raise ValueError(
                f"MODEL.ROCK.FUSION.SWITCHED_OFF: {sorted(unknown)} are none of the tasks "
                f"{list(encoding_channels)}"
            )
        self.decoders = nn.ModuleDict()
        for task, channels in encoding_channels.items():
            with own_seed(f"decoders.{task}"):
                self.decoders[task] = self.make_decoder(channels, out_channels, norm)

    def make_decoder(self, in_channels: int, out_channels: int, norm: str) -> nn.Module:
        """Return the paper's decoder (supplement, sec. 1)."""
        return Conv2d(
            in_channels,
            out_channels,
            kernel_size=1,
            bias=norm == "",
            norm=get_norm(norm, out_channels),
            activation=F.relu,
        )

    def decode(self, encodings: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return Dec_t(Enc_t(X)) of each task."""
        off = () if self.training else self.switched_off
        return [
            decoder(encodings[task]) for task, decoder in self.decoders.items() if task not in off
        ]
