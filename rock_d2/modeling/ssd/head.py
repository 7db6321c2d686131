"""SSD's extra feature maps and the predictors on all of them (SSD, sec. 2.1)."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import build_anchor_generator
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from fvcore.common.registry import Registry
from torch import nn
from torch.nn import functional as F

from rock_d2.layers import check_norm
from rock_d2.modeling.ssd.anchors import nominal_size
from rock_d2.registry import registered

SSD_HEAD_REGISTRY = Registry("SSD_HEAD")
SSD_HEAD_REGISTRY.__doc__ = "SSD's heads by the name that MODEL.SSD.HEAD gives them."


def build_ssd_head(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    head = registered(SSD_HEAD_REGISTRY, cfg.MODEL.SSD.HEAD, setting="MODEL.SSD.HEAD")
    return head(cfg, input_shape)


@SSD_HEAD_REGISTRY.register()
class SSDHead(nn.Module):
    """Predicts class logits and box deltas of every default box.

    N images, A default boxes of all maps, C classes of objects; class C is the background.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        image_size: Sequence[int],
        extra_channels: Sequence[int],
        norm: str,
        anchor_generator: nn.Module,
        num_classes: int,
        prior_prob: float,
    ):
        """``config.py`` explains the settings; ``image_size`` decides how many extra maps fit."""
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"MODEL.SSD.NUM_CLASSES is {num_classes}; 0 needs a data set in DATASETS.TRAIN or "
                "TEST whose thing_classes can be counted"
            )
        if not 0 < prior_prob < 1:
            raise ValueError(f"MODEL.SSD.PRIOR_PROB is {prior_prob}; it must be between 0 and 1")
        shapes = self.all_shapes(input_shape, in_features, image_size, extra_channels)
        widths = [*extra_channels, *(count // 2 for count in extra_channels)]
        check_norm(norm, widths, setting="MODEL.SSD.NORM")
        self.in_features = tuple(in_features)
        self.num_classes = num_classes
        self.anchor_generator = anchor_generator
        last_given = len(in_features) - 1
        self.extra_layers = nn.ModuleList(self.make_extra_layers(shapes[last_given:], norm))
        channels = [shape.channels for shape in shapes]
        boxes = list(zip(channels, anchor_generator.num_anchors, strict=True))
        outputs = num_classes + 1
        self.cls_score = nn.ModuleList(predictor(c, count * outputs) for c, count in boxes)
        self.bbox_pred = nn.ModuleList(predictor(c, count * 4) for c, count in boxes)
        self._set_prior(prior_prob)
        # Statistics of a map of one cell are those of the images alone.
        is_one_cell = shapes[-1].height == shapes[-1].width == 1
        self.needs_several_images = norm == "BN" and len(self.extra_layers) > 0 and is_one_cell

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        ssd = cfg.MODEL.SSD
        maps = {
            "input_shape": input_shape,
            "in_features": ssd.IN_FEATURES,
            "image_size": nominal_size(cfg),
            "extra_channels": ssd.EXTRA_CHANNELS,
        }
        return maps | {
            "norm": ssd.NORM,
            "anchor_generator": build_anchor_generator(cfg, cls.all_shapes(**maps)),
            "num_classes": ssd.NUM_CLASSES,
            "prior_prob": ssd.PRIOR_PROB,
        }

    @classmethod
    def all_shapes(
        cls,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        image_size: Sequence[int],
        extra_channels: Sequence[int],
    ) -> list[ShapeSpec]:
        """Return the shapes of the maps that are predicted from, from the largest."""
        if not in_features or not set(in_features) <= input_shape.keys():
            raise ValueError(
                f"MODEL.SSD.IN_FEATURES: {list(in_features)} must name maps of the backbone, which "
                f"are {list(input_shape)}"
            )
        if min(extra_channels, default=2) < 2:
            raise ValueError(
                f"MODEL.SSD.EXTRA_CHANNELS is {list(extra_channels)}; each map needs 2 or more"
            )
        return cls.map_shapes(
            [input_shape[name] for name in in_features], image_size, extra_channels
        )

    @staticmethod
    def map_shapes(
        given: Sequence[ShapeSpec], image_size: Sequence[int], extra_channels: Sequence[int]
    ) -> list[ShapeSpec]:
        """Return the shapes of the backbone's maps and of the extra ones, each half as large.

        A map of 1 x 1 is the last; the rest of ``extra_channels`` is left out.
        """
        height, width = image_size
        shapes = [
            ShapeSpec(
                channels=shape.channels,
                height=-(-height // shape.stride),
                width=-(-width // shape.stride),
                stride=shape.stride,
            )
            for shape in given
        ]
        for channels in extra_channels:
            last = shapes[-1]
            if last.height == last.width == 1:
                break
            shapes.append(
                ShapeSpec(
                    channels=channels,
                    height=(last.height + 1) // 2,
                    width=(last.width + 1) // 2,
                    stride=last.stride * 2,
                )
            )
        return shapes

    @staticmethod
    def make_extra_layers(shapes: Sequence[ShapeSpec], norm: str) -> list[nn.Module]:
        """Return the layers from each map to the next: the backbone's last and the extra ones."""
        halving = {"kernel_size": 3, "stride": 2, "padding": 1}
        return [
            extra_layer(a.channels, b.channels // 2, b.channels, norm=norm, **halving)
            for a, b in pairwise(shapes)
        ]

    def _set_prior(self, prior_prob: float) -> None:
        """Bias the background so that softmax starts at 1 - prior_prob (RetinaNet, sec. 3.3)."""
        background = math.log(self.num_classes * (1 - prior_prob) / prior_prob)
        for layer in self.cls_score:
            with torch.no_grad():
                layer.bias.view(-1, self.num_classes + 1)[:, -1] = background

    def forward(
        self, features: Mapping[str, torch.Tensor], image_size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits (N, A, C + 1), deltas (N, A, 4) and the default boxes (A, 4)."""
        maps = [features[name] for name in self.in_features]
        if self.training and self.needs_several_images and len(maps[0]) == 1:
            raise ValueError(
                "MODEL.SSD.NORM BN needs two images or more in each process and part "
                "(SOLVER.ACCUMULATE): raise SOLVER.IMS_PER_BATCH or take GN"
            )
        for layer in self.extra_layers:
            maps.append(layer(maps[-1]))
        logits = self._predict(self.cls_score, maps, self.num_classes + 1)
        deltas = self._predict(self.bbox_pred, maps, 4)
        return logits, deltas, self.anchor_generator(maps, image_size)

    def _predict(
        self, layers: nn.ModuleList, maps: Sequence[torch.Tensor], outputs: int
    ) -> torch.Tensor:
        predictions = [layer(x) for layer, x in zip(layers, maps, strict=True)]
        return torch.cat([permute_to_N_HWA_K(p, outputs) for p in predictions], dim=1)


def extra_layer(
    in_channels: int, middle: int, out_channels: int, *, norm: str, **window: Any
) -> nn.Sequential:
    """Return a 1 x 1 convolution to ``middle`` channels and one that shrinks the map."""
    shared = {"bias": norm == "", "activation": F.relu}
    layers = nn.Sequential(
        Conv2d(in_channels, middle, kernel_size=1, norm=get_norm(norm, middle), **shared),
        Conv2d(middle, out_channels, norm=get_norm(norm, out_channels), **window, **shared),
    )
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers


def predictor(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution that starts near zero, as RetinaNet's (sec. 4.1)."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
