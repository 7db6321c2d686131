"""The tasks as context that the detector does not train."""

from collections.abc import Mapping

import torch
from torch import nn

from rock_d2.layers import Extents, global_average
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion


@FUSION_REGISTRY.register()
class ContextFusion(DecoderFusion):
    """X + sum over tasks of Dec_t(C_t), linear from zero on; K C + C parameters a task.

    C_t is the encoding or, of a task that describes the whole image, the class probabilities at
    every place: in equation 1 each place sees its own evidence of the class only. No gradient
    passes to the encodings, so that they learn their task alone. ``norm`` is not used.
    """

    trains_encodings = False

    def make_decoder(self, in_channels: int, out_channels: int, norm: str) -> nn.Module:
        decoder = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        nn.init.zeros_(decoder.weight)
        nn.init.zeros_(decoder.bias)
        return decoder

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        context = {task: encoding.detach() for task, encoding in encodings.items()}
        for task in self.image_tasks:
            scores = global_average(context[task], extents)[..., None, None]
            context[task] = scores.softmax(dim=1).expand_as(context[task])
        return x + sum(self.decode(context))
