"""SSD's default boxes (SSD, sec. 2.2) for images of any size.

A default boxes of all maps.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from torch import nn

# Pixels; of smaller images the last maps of a backbone would be empty.
SMALLEST_SIDE = 32


@ANCHOR_GENERATOR_REGISTRY.register()
class SSDAnchorGenerator(nn.Module):
    """Makes the default boxes of all maps.

    A map of h x w cells has its boxes centred in cells of exactly H / h x W / w pixels of the
    image. A box of scale s is a square of side s * min(H, W), where H x W is INPUT.SIZE for images
    of any size, or has the same area at another aspect ratio.
    """

    @configurable
    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        num_maps: int,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
    ):
        """Take the settings that ``config.py`` explains; ``image_size`` is INPUT.SIZE."""
        super().__init__()
        shapes = self.shapes(
            image_size=image_size, num_maps=num_maps, scales=scales, aspect_ratios=aspect_ratios
        )
        self.num_anchors = [len(shape) for shape in shapes]
        for i, shape in enumerate(shapes):
            self.register_buffer(f"shapes{i}", torch.tensor(shape), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        return {
            "image_size": nominal_size(cfg),
            "num_maps": len(input_shape),
            "scales": cfg.MODEL.SSD.SCALES,
            "aspect_ratios": cfg.MODEL.SSD.ASPECT_RATIOS,
        }

    @staticmethod
    def shapes(*, image_size: tuple[int, int], **settings: Any) -> list[list[tuple[float, float]]]:
        """Return (width, height) of each map's boxes; ``settings`` are those of ``box_shapes``."""
        return box_shapes(side=min(image_size), **settings)

    @staticmethod
    def cell_size(*, image_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[float, float]:
        """Return the pixels from one cell of a map to the next, down and to the right."""
        return image_size[0] / map_size[0], image_size[1] / map_size[1]

    def forward(
        self, features: Sequence[torch.Tensor], image_size: tuple[int, int]
    ) -> torch.Tensor:
        """Return the boxes of all maps, (A, 4) as x0 y0 x1 y1, cell by cell, in a padded batch."""
        boxes = []
        for i, feature in enumerate(features):
            size = tuple(feature.shape[-2:])
            step = self.cell_size(image_size=image_size, map_size=size)
            shapes = self.get_buffer(f"shapes{i}")
            boxes.append(grid_boxes(cell_size=step, map_size=size, shapes=shapes))
        return torch.cat(boxes)


def nominal_size(cfg: CfgNode) -> tuple[int, int]:
    """Return (H, W) of the images that default boxes and extra maps are designed for."""
    size = cfg.INPUT.SIZE
    if len(size) not in (0, 2) or min(size, default=SMALLEST_SIDE) < SMALLEST_SIDE:
        raise ValueError(
            f"INPUT.SIZE is {size}; it must be [height, width] of {SMALLEST_SIDE} or more, or []"
        )
    found = tuple(size) or (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    if min(found) < SMALLEST_SIDE:
        raise ValueError(
            f"INPUT.MIN_SIZE_TEST, MAX_SIZE_TEST are {found}; SSD's default boxes are made for "
            f"them and need {SMALLEST_SIDE} or more"
        )
    return found


def box_shapes(
    *, num_maps: int, side: float, scales: Sequence[float], aspect_ratios: Sequence[float]
) -> list[list[tuple[float, float]]]:
    """Return (width, height) of the boxes of each map.

    As SSD512: scales rise evenly from the second map to the last, and each map has one more
    square, of the geometric mean of its scale and the next.
    """
    if len(scales) != 3 or min(scales) <= 0:
        raise ValueError(f"MODEL.SSD.SCALES is {list(scales)}, not three positive numbers")
    if min(aspect_ratios, default=1) <= 0:
        raise ValueError(f"MODEL.SSD.ASPECT_RATIOS are {list(aspect_ratios)}, not all above 0")
    first, second, last = scales
    step = (last - second) / max(num_maps - 2, 1)
    sizes = [first * side] + [(second + step * i) * side for i in range(num_maps)]
    shapes = []
    for i in range(num_maps):
        narrow = i == 0 or i >= num_maps - 2
        ratios = aspect_ratios[:1] if narrow else aspect_ratios
        between = math.sqrt(sizes[i] * sizes[i + 1])
        shape = [(sizes[i], sizes[i]), (between, between)]
        for ratio in ratios:
            root = math.sqrt(ratio)
            shape += [(sizes[i] * root, sizes[i] / root), (sizes[i] / root, sizes[i] * root)]
        shapes.append(shape)
    return shapes


def grid_boxes(
    *, cell_size: tuple[float, float], map_size: tuple[int, int], shapes: torch.Tensor
) -> torch.Tensor:
    """Return (h * w * K, 4), x0 y0 x1 y1: K ``shapes`` (K, 2) centred in every cell of a map."""
    y, x = (
        (torch.arange(count, device=shapes.device) + 0.5) * step
        for count, step in zip(map_size, cell_size, strict=True)
    )
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
    halves = shapes / 2
    return torch.cat([centres - halves, centres + halves], dim=-1).reshape(-1, 4)
