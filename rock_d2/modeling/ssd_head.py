"""SSD's extra feature maps and the predictors on all of them (SSD, sec. 2.1)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import build_anchor_generator
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.structures import Boxes
from torch import nn
from torch.nn import functional as F

from rock_d2.modeling.neck import shape_of


class SSDHead(nn.Module):
    """Class logits and box deltas of every default box.

    N images, A default boxes of all maps, C classes of objects; class C is the background.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        map_shapes: Sequence[ShapeSpec],
        anchor_generator: nn.Module,
        num_classes: int,
        norm: str,
        prior_prob: float,
    ):
        """
        Args:
            in_features: names of the maps that come from the neck; the others are made here.
            map_shapes: of all maps, from the largest.
            anchor_generator: the default boxes.
            num_classes: C.
            norm: normalisation in the extra layers, a name that Detectron2's get_norm knows.
            prior_prob: probability of 'some object' that every default box starts with.
        """
        super().__init__()
        self.in_features = tuple(in_features)
        self.num_classes = num_classes
        self.anchor_generator = anchor_generator
        num_given = len(in_features)
        channels = [shape.channels for shape in map_shapes]
        self.extra_layers = nn.ModuleList(
            extra_layer(c_in, c_out, norm)
            for c_in, c_out in zip(channels[num_given - 1 :], channels[num_given:], strict=False)
        )
        boxes = list(zip(channels, anchor_generator.num_anchors, strict=True))
        outputs = num_classes + 1
        self.cls_score = nn.ModuleList(predictor(c, count * outputs) for c, count in boxes)
        self.bbox_pred = nn.ModuleList(predictor(c, count * 4) for c, count in boxes)
        self._set_prior(prior_prob)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        ssd = cfg.MODEL.SSD
        shapes = [
            shape_of(input_shape, name, setting="MODEL.SSD.IN_FEATURES") for name in ssd.IN_FEATURES
        ]
        map_shapes = all_map_shapes(shapes, cfg.INPUT.SIZE, ssd.EXTRA_CHANNELS)
        return {
            "in_features": ssd.IN_FEATURES,
            "map_shapes": map_shapes,
            "anchor_generator": build_anchor_generator(cfg, map_shapes),
            "num_classes": ssd.NUM_CLASSES,
            "norm": ssd.NORM,
            "prior_prob": ssd.PRIOR_PROB,
        }

    def _set_prior(self, prior_prob: float) -> None:
        """Biases the background so that softmax starts at 1 - prior_prob (RetinaNet, sec. 3.3)."""
        background = math.log(self.num_classes * (1 - prior_prob) / prior_prob)
        for layer in self.cls_score:
            with torch.no_grad():
                layer.bias.view(-1, self.num_classes + 1)[:, -1] = background

    def forward(
        self, features: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (N, A, C + 1), deltas (N, A, 4) and the default boxes (A, 4)."""
        maps = [features[name] for name in self.in_features]
        for layer in self.extra_layers:
            maps.append(layer(maps[-1]))
        logits = self._predict(self.cls_score, maps, self.num_classes + 1)
        deltas = self._predict(self.bbox_pred, maps, 4)
        return logits, deltas, Boxes.cat(self.anchor_generator(maps)).tensor

    def _predict(
        self, layers: nn.ModuleList, maps: Sequence[torch.Tensor], outputs: int
    ) -> torch.Tensor:
        predictions = [layer(x) for layer, x in zip(layers, maps, strict=True)]
        return torch.cat([permute_to_N_HWA_K(p, outputs) for p in predictions], dim=1)


def all_map_shapes(
    given: Sequence[ShapeSpec], image_size: Sequence[int], extra_channels: Sequence[int]
) -> list[ShapeSpec]:
    """The shapes of the neck's maps and of the extra ones, each half as large, until 1 x 1.

    A small image reaches 1 x 1 before ``extra_channels`` is used up; the rest is left out.
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


def extra_layer(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    """A 1 x 1 convolution to half the channels and a 3 x 3 one that halves the map."""
    middle = out_channels // 2
    shared = {"bias": norm == "", "activation": F.relu}
    layers = nn.Sequential(
        Conv2d(in_channels, middle, kernel_size=1, norm=get_norm(norm, middle), **shared),
        Conv2d(
            middle,
            out_channels,
            kernel_size=3,
            stride=2,
            padding=1,
            norm=get_norm(norm, out_channels),
            **shared,
        ),
    )
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers


def predictor(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3 x 3 convolution that starts near zero, as RetinaNet's (sec. 4.1)."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
