"""MTI-Net's feature propagation module (Vandenhende et al., ECCV 2020, sec. 3.3).

N images, T tasks, C channels of each, h x w places. Joined, the tasks' channels are one after
another: those of the first task, those of the second and so on.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import nn

from rock_d2.layers import Extents, global_average, own_seed
from rock_d2.modeling.necks.blocks import basic_blocks, pytorch_weights
from rock_d2.registry import check_choice


class FeaturePropagation(nn.Module):
    """Prepares the features of a scale for the next finer one.

    p_t = SE_t(shared(M x X)) + f_t, where X are the joined f_t and M their attention mask.
    """

    def __init__(self, *, tasks: Sequence[str], channels: int, softmax: str, norm: str):
        """Join the tasks of these names in this order."""
        super().__init__()
        check_choice(softmax, ("tasks", "channels"), setting="MODEL.MTI.FPM_SOFTMAX")
        self.tasks = tuple(tasks)
        self.softmax = softmax
        joined = len(tasks) * channels
        reduced = joined // 4
        with own_seed("attention"):
            self.attention = nn.Sequential(
                *basic_blocks(joined, reduced, norm=norm), nn.Conv2d(reduced, joined, kernel_size=1)
            )
        with own_seed("shared"):
            self.shared = pytorch_weights(BasicBlock(joined, channels, norm=norm))
        self.excite = nn.ModuleDict()
        for task in tasks:
            with own_seed(f"excite.{task}"):
                self.excite[task] = SqueezeExcite(channels)

    def forward(
        self, features: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> dict[str, torch.Tensor]:
        """Return p_t (N, C, h, w) of each f_t (N, C, h, w)."""
        x = torch.cat([features[task] for task in self.tasks], dim=1)
        shared = self.shared(self.mask(x) * x)
        return {
            task: excite(shared, extents) + features[task] for task, excite in self.excite.items()
        }

    def mask(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attention M of the joined features, (N, T * C, h, w) as they are.

        By the paper it sums to 1 over the tasks, channel by channel. The published code takes the
        softmax over runs of T neighbouring channels, mostly of the same task.
        """
        logits, count = self.attention(x), len(self.tasks)
        if self.softmax == "tasks":
            return logits.unflatten(1, (count, -1)).softmax(dim=1).flatten(1, 2)
        return logits.unflatten(1, (-1, count)).softmax(dim=2).flatten(1, 2)


class SqueezeExcite(nn.Module):
    """Scales each channel by what the image's average says (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        inside = max(channels // 16, 1)
        self.squeeze = nn.Linear(channels, inside)
        self.excite = nn.Linear(inside, channels)

    def forward(self, x: torch.Tensor, extents: Extents | None = None) -> torch.Tensor:
        """Scale (N, C, h, w); padding has no share in the average."""
        average = global_average(x, extents)
        scale = torch.sigmoid(self.excite(self.squeeze(average).relu()))
        return x * scale[:, :, None, None]
