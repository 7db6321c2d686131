"""The network of rock-pytorch, a public port of ROCK, where it is not the paper's.

configs/port/ puts these parts together, so that its released weights can be used.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, build_resnet_backbone
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from torch import nn
from torch.nn import functional as F

from rock_d2.layers import Extents, conv_norm_relu, own_seed
from rock_d2.modeling.fusions import FUSION_REGISTRY, SumFusion
from rock_d2.modeling.necks import NECK_REGISTRY, ROCK
from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator, box_shapes
from rock_d2.modeling.ssd.head import SSD_HEAD_REGISTRY, SSDHead, extra_layer


@BACKBONE_REGISTRY.register()
def build_port_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Return a ResNet dilated as torchvision does it: conv5's first 3 x 3 convolution is not."""
    resnet = build_resnet_backbone(cfg, input_shape)
    first = resnet.res5[0].conv2
    first.dilation = first.padding = (1, 1)
    return resnet


@NECK_REGISTRY.register()
class PortROCK(ROCK):
    """Each encoder has three more convolutions."""

    def make_encoders(self, width: int, norm: str) -> nn.ModuleDict:
        encoders, middle = super().make_encoders(width, norm), width // 2
        for name, linear in encoders.items():
            with own_seed(f"port.{name}"):
                encoders[name] = nn.Sequential(
                    conv_norm_relu(width, middle, kernel_size=1, norm=norm),
                    conv_norm_relu(middle, middle, kernel_size=3, norm=norm),
                    conv_norm_relu(middle, width, kernel_size=1, norm=norm),
                    linear,
                )
        return encoders


@FUSION_REGISTRY.register()
class PortFusion(SumFusion):
    """Equation 1, then normalisation and ReLU."""

    def __init__(self, *, out_channels: int, norm: str, **settings: Any):
        super().__init__(out_channels=out_channels, norm=norm, **settings)
        self.norm = get_norm(norm, out_channels) or nn.Identity()

    def forward(
        self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor], extents: Extents | None = None
    ) -> torch.Tensor:
        return F.relu(self.norm(super().forward(x, encodings, extents)))


@ANCHOR_GENERATOR_REGISTRY.register()
class PortAnchorGenerator(SSDAnchorGenerator):
    """Scales are in units of the image's width and height, so that its 'squares' are none.

    Boxes are no larger than the image, and cells have whole pixels.
    """

    @staticmethod
    def shapes(*, image_size: tuple[int, int], **settings: Any) -> list[list[tuple[float, float]]]:
        height, width = image_size
        return [
            [(min(w, 1) * width, min(h, 1) * height) for w, h in of_map]
            for of_map in box_shapes(side=1, **settings)
        ]

    @staticmethod
    def cell_size(*, image_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[float, float]:
        return image_size[0] // map_size[0], image_size[1] // map_size[1]


@SSD_HEAD_REGISTRY.register()
class PortHead(SSDHead):
    """The last two extra maps are made without a border: by a 3 x 3 window and by a whole map."""

    @staticmethod
    def map_shapes(
        given: Sequence[ShapeSpec], image_size: Sequence[int], extra_channels: Sequence[int]
    ) -> list[ShapeSpec]:
        *halved, inner, last = extra_channels
        shapes = SSDHead.map_shapes(given, image_size, halved)
        height, width = shapes[-1].height - 2, shapes[-1].width - 2
        if min(height, width) < 1:
            raise ValueError(f"INPUT.SIZE {list(image_size)} is too small for PortHead's maps")
        return [
            *shapes,
            ShapeSpec(channels=inner, height=height, width=width),
            ShapeSpec(channels=last, height=1, width=1),
        ]

    @staticmethod
    def make_extra_layers(shapes: Sequence[ShapeSpec], norm: str) -> list[nn.Module]:
        halving = {"kernel_size": 3, "stride": 2, "padding": 1}
        whole = {"kernel_size": (shapes[-2].height, shapes[-2].width)}
        windows = [*[halving] * (len(shapes) - 3), {"kernel_size": 3}, whole]
        outputs = [shape.channels for shape in shapes[1:]]
        # Half of a map's channels stand in the middle of its layer, all of them in the first.
        middles = [outputs[0], *(channels // 2 for channels in outputs[1:])]
        return [
            extra_layer(a.channels, middle, b.channels, norm=norm, **window)
            for (a, b), middle, window in zip(pairwise(shapes), middles, windows, strict=True)
        ]


PORT_BACKBONE = "feature_extractor."
# Patterns of its other names and their replacements, one after another.
PORT_NAMES = (
    (r"^auxiliary\.bn3", "neck.fusion.res5.norm"),
    (r"^auxiliary\.(\w+)_extractor\.\1_out", r"neck.fusion.res5.decoders.\1"),
    (r"^auxiliary\.(\w+)_extractor\.bn_out", r"neck.fusion.res5.decoders.\1.norm"),
    (r"^auxiliary\.(\w+)_extractor\.\1_in", r"neck.encoders.res5.\1.3"),
    (r"^auxiliary\.(\w+)_extractor", r"neck.encoders.res5.\1"),
    (r"^auxiliary", "neck.trunk.res5"),
    (r"\bbn(\d)", r"conv\1.norm"),
    (r"\bconv1", "0"),
    (r"\bconv2", "1"),
    (r"\bconv3", "2"),
    (r"^detection\.additional_layers\.(\d)\.0", r"head.extra_layers.\1.0"),
    (r"^detection\.additional_layers\.(\d)\.1", r"head.extra_layers.\1.0.norm"),
    (r"^detection\.additional_layers\.(\d)\.3", r"head.extra_layers.\1.1"),
    (r"^detection\.additional_layers\.(\d)\.4", r"head.extra_layers.\1.1.norm"),
    (r"^detection\.loc", "head.bbox_pred"),
    (r"^detection\.conf", "head.cls_score"),
)


def port_name(name: str) -> str:
    """Return the name here of one of the port's tensors outside of the backbone."""
    for pattern, replacement in PORT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def convert_port(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return our order of the predictors' channels, and convolutions without needless biases.

    A predictor's channels are box by box here, and output by output there; the background is the
    last class here, and the first there. A bias before batch normalisation is the same as a
    smaller running mean.
    """
    converted = dict(tensors)
    for name, mean in tensors.items():
        bias = name.replace("norm.running_mean", "bias")
        if bias != name and bias in converted:
            converted[name] = mean - converted.pop(bias)
    for name, deltas in tensors.items():
        logits = name.replace("bbox_pred", "cls_score")
        if logits != name and logits in tensors:
            boxes = len(deltas) // 4
            classes_first = tensors[logits].unflatten(0, (-1, boxes)).roll(-1, dims=0)
            converted[logits] = classes_first.transpose(0, 1).flatten(0, 1)
            converted[name] = deltas.unflatten(0, (4, boxes)).transpose(0, 1).flatten(0, 1)
    return converted
