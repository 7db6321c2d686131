"""Pooling and resizing without parameters.

N images, C channels, H x W and h x w pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

# For each image the shares of the padded batch's height and width that it fills.
Extents = Sequence[tuple[float, float]]


def cut(maps: torch.Tensor, extent: tuple[float, float]) -> torch.Tensor:
    """Return the part of (..., h, w) that an image fills, cells at its border included."""
    height, width = (
        math.ceil(size * share - 1e-6) for size, share in zip(maps.shape[-2:], extent, strict=True)
    )
    return maps[..., :height, :width]


def global_average(x: torch.Tensor, extents: Extents | None = None) -> torch.Tensor:
    """Average (N, C, H, W) over all pixels, or over those of each image's extent, to (N, C)."""
    if not extents:
        return x.mean(dim=(2, 3))
    images = zip(x, extents, strict=True)
    return torch.stack([cut(image, extent).mean(dim=(1, 2)) for image, extent in images])


def block_average(x: torch.Tensor, num_blocks: int) -> torch.Tensor:
    """Average each of G blocks of neighbouring channels: (N, G * K, H, W) to (N, G, H, W)."""
    return x.unflatten(1, (num_blocks, -1)).mean(dim=2)


def block_repeat(x: torch.Tensor, num_channels: int) -> torch.Tensor:
    """Repeat the channels to ``num_channels`` in blocks of equal ones; block_average undoes it."""
    return x.repeat_interleave(num_channels // x.shape[1], dim=1)


def known_average(
    target: torch.Tensor, known: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduce target maps (N, C, H, W) to ``size`` by the mean over the known pixels (N, 1, H, W).

    Return the means (N, C, h, w), 0 where nothing is known, and bool (N, 1, h, w), where something
    is.
    """
    share = F.adaptive_avg_pool2d(known.to(target.dtype), size)
    means = F.adaptive_avg_pool2d(target * known, size)
    return means / share.clamp(min=torch.finfo(target.dtype).tiny), share > 0


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize (N, C, h, w) to fp32 (N, C, H, W), bilinear."""
    return F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=False)
