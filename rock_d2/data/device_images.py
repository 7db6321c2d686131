"""The images of a data set on a device, which augments those of a batch at once.

N images, H x W pixels each after it; L rows of the fullest image before its resize, K taps.
Integers all the way, so that every device gives what Pillow and OpenCV give, bit for bit, whatever
else is in the batch.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch

from rock_d2.data.augmentation import LevelTables
from rock_d2.data.sampling import UNCHANGED, WEIGHT_BITS, Axis, Sampling
from rock_d2.tasks.geometry import OUTSIDE
from rock_d2.tasks.pixel_store import PixelStore, outside, stack_on


class DeviceImages:
    """uint8 images of three channels and any sizes."""

    def __init__(self, sizes: Sequence[tuple[int, int]], *, rgb: bool, device: torch.device):
        self.store = PixelStore(sizes, channels=3, stored_type=np.uint8, device=device)
        self.rgb = rgb

    def put(self, index: int, image: np.ndarray) -> None:
        """Keeps an image, (H, W, 3)."""
        self.store.put(index, np.ascontiguousarray(image.transpose(2, 0, 1)))

    def batch(self, indices: Sequence[int], samplings: Sequence[Sampling]) -> torch.Tensor:
        """uint8 (N, 3, H, W)."""
        return self._recolour(self._resample(indices, samplings), [s.colours for s in samplings])

    def _resample(self, indices: Sequence[int], samplings: Sequence[Sampling]) -> torch.Tensor:
        """Columns first, as Pillow does it, and rounded in between."""
        device = self.store.device
        rows, columns = [s.rows.within() for s in samplings], [s.columns for s in samplings]
        sources = map(self.store.row_starts, indices, (axis.source for axis in rows))
        row_starts = stack_on(equally_long(list(sources)), device)
        fills = [s.fill for s in samplings]
        fill = None if fills.count(None) == len(fills) else colours_on(fills, device)
        taps, weights = stacked_taps(columns, device, of_source=True)
        planes = self._take_columns(row_starts, taps, weights, fill)
        taps, weights = stacked_taps(rows, device)
        return torch.stack([mean_of_rows(plane, taps, weights) for plane in planes], dim=1)

    def _take_columns(
        self,
        row_starts: torch.Tensor,
        columns: torch.Tensor,
        weights: torch.Tensor,
        fill: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """Of each channel, each row's weighted means, (N, L, W).

        Args:
            row_starts: int64 (N, L).
            columns: int64 (K, N, W), the stored image's.
            weights: int32 (K, N, W).
            fill: int32 (N, 3), or None if nothing lies outside.
        """
        sums = [0, 0, 0]
        for tap, weight in zip(columns, weights, strict=True):
            planes = [plane.to(torch.int32) for plane in self.store.gather(row_starts, tap)]
            if fill is not None:
                empty, colours = outside(row_starts, tap), fill[..., None, None].unbind(dim=1)
                planes = [torch.where(empty, *x) for x in zip(colours, planes, strict=True)]
            for channel, plane in enumerate(planes):
                sums[channel] += plane.mul_(weight[:, None])
        return [rounded(total) for total in sums]

    def _recolour(self, images: torch.Tensor, colours: Sequence[LevelTables]) -> torch.Tensor:
        if all(tables is UNCHANGED for tables in colours):
            return images
        images = look_up([tables.before for tables in colours], images)
        turned = [i for i, tables in enumerate(colours) if tables.hsv is not None]
        if turned:
            tables = hue_tables(rgb=self.rgb, device=images.device)
            chosen = stack_on(turned, images.device)
            hsv = convert(images.index_select(0, chosen), tables.to_hsv)
            hsv = look_up([colours[i].hsv for i in turned], hsv)
            back = convert(hsv, tables.to_colours)
            images.index_copy_(0, chosen, look_up([colours[i].after for i in turned], back))
        return images


class HueTables(NamedTuple):
    """OpenCV's conversions to HSV and back as the planes of all colours, in the images' order."""

    to_hsv: torch.Tensor
    to_colours: torch.Tensor


# Of this process, 85 MB for each.
@cache
def hue_tables(*, rgb: bool, device: torch.device) -> HueTables:
    to_hsv = cv2.COLOR_RGB2HSV if rgb else cv2.COLOR_BGR2HSV
    to_colours = cv2.COLOR_HSV2RGB if rgb else cv2.COLOR_HSV2BGR
    # OpenCV's hues of uint8 are 0 to 179.
    return HueTables(*(all_colours(*x).to(device) for x in ((256, to_hsv), (180, to_colours))))


def all_colours(first_levels: int, code: int) -> torch.Tensor:
    """What OpenCV makes of each colour, uint8 (3, first_levels * 256 * 256)."""
    grid = np.empty((first_levels, 256, 256, 3), dtype=np.uint8)
    levels = np.arange(256, dtype=np.uint8)
    grid[..., 0] = levels[:first_levels, None, None]
    grid[..., 1] = levels[:, None]
    grid[..., 2] = levels
    converted = cv2.cvtColor(grid.reshape(first_levels, -1, 3), code)
    return torch.from_numpy(np.stack(cv2.split(converted))).flatten(1)


def convert(images: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Each colour by a table of all of them: uint8 (N, 3, H, W) to the same."""
    first, second, third = images.to(torch.int64).unbind(dim=1)
    places = first.mul_(256).add_(second).mul_(256).add_(third)
    planes = [plane.index_select(0, places.flatten()).view(places.shape) for plane in table]
    return torch.stack(planes, dim=1)


def stacked_taps(
    axes: Sequence[Axis], device: torch.device, *, of_source: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Taps, int64, and weights, int32, both (K, N, L).

    Args:
        axes: of each image.
        device: where they are needed.
        of_source: whether taps are replaced by what they point at.
    """
    count = max(axis.taps.shape[1] for axis in axes)
    taps, weights = [], []
    for axis in axes:
        # Taps that others need have no weight here.
        margin = ((0, 0), (0, count - axis.taps.shape[1]))
        places = axis.source[axis.taps] if of_source else axis.taps
        taps.append(np.pad(places, margin).T)
        weights.append(np.pad(axis.weights, margin).T)
    return (
        stack_on(taps, device).transpose(0, 1),
        stack_on(weights, device).transpose(0, 1),
    )


def colours_on(fills: Sequence[tuple[int, ...] | None], device: torch.device) -> torch.Tensor:
    """int32 (N, 3)."""
    return stack_on([np.array(fill or (0, 0, 0), dtype=np.int32) for fill in fills], device)


def equally_long(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All as long as the longest; what is new is OUTSIDE."""
    length = max(map(len, arrays))
    return [np.pad(a, (0, length - len(a)), constant_values=OUTSIDE) for a in arrays]


def mean_of_rows(plane: torch.Tensor, taps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted means, uint8 (N, H, W), of the rows of uint8 (N, L, W).

    Args:
        plane: one channel.
        taps: int64 (K, N, H), rows of ``plane``.
        weights: int32 (K, N, H).
    """
    count, length, width = plane.shape
    first_rows = torch.arange(count, device=plane.device)[:, None] * length
    lines, total = plane.reshape(-1, width), 0
    for tap, weight in zip(taps, weights, strict=True):
        chosen = lines.index_select(0, (first_rows + tap).flatten())
        total += chosen.view(count, -1, width).to(torch.int32).mul_(weight[..., None])
    return rounded(total)


def rounded(total: torch.Tensor) -> torch.Tensor:
    """uint8 of a sum with weights, half up as Pillow does it."""
    return total.add_(1 << (WEIGHT_BITS - 1)).bitwise_right_shift_(WEIGHT_BITS).to(torch.uint8)


def look_up(tables: Sequence[np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """Each image by its table, uint8 (256, 3): uint8 (N, 3, H, W) to the same."""
    count, channels = images.shape[:2]
    levels = stack_on([table.T for table in tables], images.device).flatten()
    offsets = 256 * torch.arange(count * channels, device=images.device)
    places = images.to(torch.int64) + offsets.view(count, channels, 1, 1)
    return levels.index_select(0, places.flatten()).view(images.shape)
