"""SSD's default boxes (SSD, sec. 2.2) for images that need not be square."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.structures import Boxes
from torch import nn


@ANCHOR_GENERATOR_REGISTRY.register()
class SSDAnchorGenerator(nn.Module):
    """Default boxes of all maps, computed once for the one image size that the model takes.

    A map of h x w cells has its boxes centred in cells of exactly H / h x W / w pixels. A box of
    scale s is a square of side s * min(H, W) or has the same area at another aspect ratio.
    """

    @configurable
    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        map_sizes: Sequence[tuple[int, int]],
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
    ):
        """
        Args:
            image_size: (H, W).
            map_sizes: (h, w) of each feature map, at least two.
            scales: of the first, the second and the last map; two maps have the first two.
            aspect_ratios: besides 1, each also as its inverse; the first and the last two maps
                have the first of them only.
        """
        super().__init__()
        self.map_sizes = [tuple(size) for size in map_sizes]
        shapes = self.shapes(
            image_size=image_size,
            num_maps=len(map_sizes),
            scales=scales,
            aspect_ratios=aspect_ratios,
        )
        self.num_anchors = [len(shape) for shape in shapes]
        for i, (size, shape) in enumerate(zip(self.map_sizes, shapes, strict=True)):
            step = self.cell_size(image_size=image_size, map_size=size)
            boxes = grid_boxes(cell_size=step, map_size=size, shapes=shape)
            self.register_buffer(f"boxes{i}", boxes, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        return {
            "image_size": tuple(cfg.INPUT.SIZE),
            "map_sizes": [(shape.height, shape.width) for shape in input_shape],
            "scales": cfg.MODEL.SSD.SCALES,
            "aspect_ratios": cfg.MODEL.SSD.ASPECT_RATIOS,
        }

    @staticmethod
    def shapes(*, image_size: tuple[int, int], **settings: Any) -> list[list[tuple[float, float]]]:
        """(width, height) of the boxes of each map; ``settings`` are those of ``box_shapes``."""
        return box_shapes(side=min(image_size), **settings)

    @staticmethod
    def cell_size(*, image_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[float, float]:
        """Pixels from one cell of a map to the next, down and to the right."""
        return image_size[0] / map_size[0], image_size[1] / map_size[1]

    def forward(self, features: Sequence[torch.Tensor]) -> list[Boxes]:
        """The boxes of each map, (h * w * A, 4), cell by cell."""
        found = [tuple(feature.shape[-2:]) for feature in features]
        if found != self.map_sizes:
            raise ValueError(
                f"feature maps of {found}, but INPUT.SIZE gives {self.map_sizes}: "
                "the image was not resized to INPUT.SIZE"
            )
        return [Boxes(getattr(self, f"boxes{i}")) for i in range(len(found))]


def box_shapes(
    *, num_maps: int, side: float, scales: Sequence[float], aspect_ratios: Sequence[float]
) -> list[list[tuple[float, float]]]:
    """(width, height) of the boxes of each map.

    As SSD512: scales rise evenly from the second map to the last, and each map has one more
    square, of the geometric mean of its scale and the next.
    """
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
    *,
    cell_size: tuple[float, float],
    map_size: tuple[int, int],
    shapes: Sequence[tuple[float, float]],
) -> torch.Tensor:
    """(h * w * A, 4), x0 y0 x1 y1: every shape centred in every cell of a map."""
    y, x = (
        (torch.arange(count, dtype=torch.float64) + 0.5) * step
        for count, step in zip(map_size, cell_size, strict=True)
    )
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
    halves = torch.tensor(shapes, dtype=torch.float64) / 2
    return torch.cat([centres - halves, centres + halves], dim=-1).reshape(-1, 4).float()
