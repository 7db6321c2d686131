"""Weights of other projects: telling them apart and giving them our names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from detectron2.config import CfgNode

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class BackboneStyle:
    """What a backbone was trained with and its tensors do not tell.

    Attributes:
        format: order of the image's channels, "BGR" or "RGB".
        pixel_mean, pixel_std: of each channel, in this order, for pixels from 0 to 255.
        stride_in_1x1: whether bottlenecks stride in their first convolution; None without any.
    """

    format: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    stride_in_1x1: bool | None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "BackboneStyle":
        resnets = cfg.MODEL.RESNETS
        return cls(
            format=cfg.INPUT.FORMAT,
            pixel_mean=tuple(cfg.MODEL.PIXEL_MEAN),
            pixel_std=tuple(cfg.MODEL.PIXEL_STD),
            # ResNet-18 and 34 have no bottlenecks.
            stride_in_1x1=resnets.STRIDE_IN_1X1 if resnets.DEPTH >= 50 else None,
        )

    def settings(self) -> dict[str, Any]:
        """By the names of the config."""
        return {
            "INPUT.FORMAT": self.format,
            "MODEL.PIXEL_MEAN": list(self.pixel_mean),
            "MODEL.PIXEL_STD": list(self.pixel_std),
            "MODEL.RESNETS.STRIDE_IN_1X1": self.stride_in_1x1,
        }


def is_setting(name: Any, value: Any) -> bool:
    """Whether it is one of a style's settings."""
    if name in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"):
        return isinstance(value, list) and all(isinstance(x, int | float) for x in value)
    kinds = {"INPUT.FORMAT": str, "MODEL.RESNETS.STRIDE_IN_1X1": bool | None}
    return name in kinds and isinstance(value, kinds[name])


def differing_settings(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``wanted`` that ``found`` contradicts."""
    return {
        key: value
        for key, value in wanted.items()
        if None not in (value, found[key]) and not _agree(value, found[key])
    }


def _agree(first: Any, second: Any) -> bool:
    if isinstance(first, list):
        return len(first) == len(second) and np.allclose(first, second, rtol=0, atol=0.01)
    return first == second


# Microsoft's residual networks as Detectron2 and Detectron distribute them.
MSRA_STYLE = BackboneStyle(
    format="BGR",
    pixel_mean=(103.53, 116.28, 123.675),
    pixel_std=(1.0, 1.0, 1.0),
    stride_in_1x1=True,
)
# 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255.
TORCHVISION_STYLE = BackboneStyle(
    format="RGB",
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
    stride_in_1x1=False,
)


@dataclass(frozen=True)
class WeightKind:
    """A layout of weights.

    Attributes:
        title: for people.
        signature: how at least one name starts in such files and in no others.
        new_name: from a tensor's name in the file to ours; what has no place in our models keeps
            its own.
        style: None where the layout does not imply it.
        convert: what is done to the renamed tensors.
        configs: of the models that these weights are all of; empty if they can be a part of many.
    """

    title: str
    signature: str
    new_name: Callable[[str], str]
    style: BackboneStyle | None
    convert: Callable[[Tensors], Tensors] = dict
    configs: str = ""

    def translate(self, tensors: Tensors) -> Tensors:
        """From the file's tensors to ours."""
        return self.convert({self.new_name(name): x for name, x in tensors.items()})


def converted_name(name: str) -> str:
    """From ``res2.0.conv1.weight`` to ``backbone.res2.0.conv1.weight``."""
    return f"backbone.{name}" if name.startswith(("stem.", "res")) else name


def caffe2_name(name: str) -> str:
    """From ``res2_0_branch2a_w``."""
    return converted_name(convert_basic_c2_names([name])[0])


def torchvision_name(name: str) -> str:
    """From ``layer1.0.conv1.weight``."""
    if name.startswith("fc."):
        return name
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    stage = re.match(r"layer(\d)\.", name)
    place = f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"
    return f"backbone.{place}"


def detectron2_name(name: str) -> str:
    """Feature pyramids have the ResNet one level deeper."""
    return name.replace("backbone.bottom_up.", "backbone.", 1)


# Patterns and what they become, one after another.
PORT_NAMES = {
    r"^auxiliary\.bn3": "neck.fusion.norm",
    r"^auxiliary\.(\w+)_extractor\.\1_out": r"neck.fusion.decoders.\1",
    r"^auxiliary\.(\w+)_extractor\.bn_out": r"neck.fusion.decoders.\1.norm",
    r"^auxiliary\.(\w+)_extractor\.\1_in": r"neck.encoders.\1.3",
    r"^auxiliary\.(\w+)_extractor": r"neck.encoders.\1",
    r"^auxiliary": "neck.trunk",
    r"\bbn(\d)": r"conv\1.norm",
    r"\bconv1": "0",
    r"\bconv2": "1",
    r"\bconv3": "2",
    r"^detection\.additional_layers\.(\d)\.0": r"head.extra_layers.\1.0",
    r"^detection\.additional_layers\.(\d)\.1": r"head.extra_layers.\1.0.norm",
    r"^detection\.additional_layers\.(\d)\.3": r"head.extra_layers.\1.1",
    r"^detection\.additional_layers\.(\d)\.4": r"head.extra_layers.\1.1.norm",
    r"^detection\.loc": "head.bbox_pred",
    r"^detection\.conf": "head.cls_score",
}


def port_name(name: str) -> str:
    if name.startswith("feature_extractor."):
        return torchvision_name(name.removeprefix("feature_extractor."))
    for pattern, ours in PORT_NAMES.items():
        name = re.sub(pattern, ours, name)
    return name


def convert_port(tensors: Tensors) -> Tensors:
    """To our order of the predictors' channels, and to convolutions without needless biases.

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


CAFFE2 = WeightKind(
    title="a Caffe2 ResNet of Detectron2",
    signature="res2_0_branch2a_w",
    new_name=caffe2_name,
    style=MSRA_STYLE,
)
TORCHVISION = WeightKind(
    title="a torchvision or timm ResNet",
    signature="layer1.0.conv1.weight",
    new_name=torchvision_name,
    style=TORCHVISION_STYLE,
)
CONVERTED = WeightKind(
    title="a torchvision ResNet converted for Detectron2",
    signature="res2.0.conv1.weight",
    new_name=converted_name,
    style=TORCHVISION_STYLE,
)
PORT = WeightKind(
    title="a checkpoint of rock-pytorch",
    signature="feature_extractor.layer1.",
    new_name=port_name,
    style=TORCHVISION_STYLE,
    convert=convert_port,
    configs="configs/port/ssd_nyuv2.yaml or configs/port/rock_nyuv2.yaml",
)
DETECTRON2 = WeightKind(
    title="a checkpoint of Detectron2",
    signature="backbone.",
    new_name=detectron2_name,
    style=None,
)
KINDS = (CAFFE2, TORCHVISION, CONVERTED, PORT, DETECTRON2)


def find_kind(path: str, tensors: Mapping[str, Any]) -> WeightKind:
    for kind in KINDS:
        if any(name.startswith(kind.signature) for name in tensors):
            return kind
    raise ValueError(
        f"{path}: names such as {', '.join(list(tensors)[:3])} belong to no known layout; "
        f"MODEL.WEIGHTS takes {', '.join(kind.title for kind in KINDS)}"
    )
