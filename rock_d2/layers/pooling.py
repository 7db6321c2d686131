"""Pooling without parameters: ROCK's predictors (sec. 2.2) and the reduction of targets."""

import torch
from torch import nn
from torch.nn import functional as F


class GlobalAverage(nn.Module):
    """(N, C, H, W) to (N, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


class ChannelAverage(nn.Module):
    """(N, G * K, H, W) to (N, G, H, W): the mean of each of G blocks of neighbouring channels."""

    def __init__(self, num_blocks: int):
        super().__init__()
        self.num_blocks = num_blocks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.num_blocks, -1)).mean(dim=2)


class UnitLength(nn.Module):
    """Scales the vectors along dimension 1 to length 1, in fp32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x.float(), dim=1)


def known_average(
    target: torch.Tensor, known: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduces a target map to ``size`` by the mean over its known pixels.

    Args:
        target: (N, C, H, W).
        known: bool (N, 1, H, W).
        size: (h, w).

    Returns:
        The means (N, C, h, w), 0 where nothing is known, and bool (N, 1, h, w), true where
        something is.
    """
    share = F.adaptive_avg_pool2d(known.to(target.dtype), size)
    means = F.adaptive_avg_pool2d(target * known, size)
    return means / share.clamp(min=torch.finfo(target.dtype).tiny), share > 0
