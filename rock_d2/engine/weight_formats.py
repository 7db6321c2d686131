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
        rename: from the file's tensors to ours; what has no place in our models keeps its name.
        style: None where the layout does not imply it.
    """

    title: str
    signature: str
    rename: Callable[[Tensors], Tensors]
    style: BackboneStyle | None


def rename_caffe2(tensors: Tensors) -> Tensors:
    """From ``res2_0_branch2a_w`` to ``backbone.res2.0.conv1.weight``."""
    names = convert_basic_c2_names(list(tensors))
    return {
        f"backbone.{new}" if new.startswith(("stem.", "res")) else old: tensors[old]
        for old, new in zip(tensors, names, strict=True)
    }


def rename_torchvision(tensors: Tensors) -> Tensors:
    """From ``layer1.0.conv1.weight`` to ``backbone.res2.0.conv1.weight``."""
    return {
        name if name.startswith("fc.") else f"backbone.{_torchvision_name(name)}": tensor
        for name, tensor in tensors.items()
    }


def _torchvision_name(name: str) -> str:
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    stage = re.match(r"layer(\d)\.", name)
    return f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"


def rename_converted(tensors: Tensors) -> Tensors:
    return {
        f"backbone.{name}" if name.startswith(("stem.", "res")) else name: tensor
        for name, tensor in tensors.items()
    }


def rename_detectron2(tensors: Tensors) -> Tensors:
    """Feature pyramids have the ResNet one level deeper."""
    return {
        name.replace("backbone.bottom_up.", "backbone.", 1): tensor
        for name, tensor in tensors.items()
    }


def rename_port(tensors: Tensors) -> Tensors:
    """Backbone and trunk of rock-pytorch; only these are the same layers as ours.

    Its trunk has a bias before batch normalisation, which is the same as a smaller running mean.
    """
    renamed = {}
    for name, tensor in tensors.items():
        trunk = re.fullmatch(r"auxiliary\.(conv|bn)([12])\.(\w+)", name)
        if name.startswith("feature_extractor."):
            renamed |= rename_torchvision({name.removeprefix("feature_extractor."): tensor})
        elif not trunk:
            renamed[name] = tensor
        elif trunk[1] == "bn":
            shift = tensors[f"auxiliary.conv{trunk[2]}.bias"] if trunk[3] == "running_mean" else 0
            renamed[f"neck.trunk.{int(trunk[2]) - 1}.norm.{trunk[3]}"] = tensor - shift
        elif trunk[3] == "weight":
            renamed[f"neck.trunk.{int(trunk[2]) - 1}.weight"] = tensor
    return renamed


CAFFE2 = WeightKind(
    title="a Caffe2 ResNet of Detectron2",
    signature="res2_0_branch2a_w",
    rename=rename_caffe2,
    style=MSRA_STYLE,
)
TORCHVISION = WeightKind(
    title="a torchvision or timm ResNet",
    signature="layer1.0.conv1.weight",
    rename=rename_torchvision,
    style=TORCHVISION_STYLE,
)
CONVERTED = WeightKind(
    title="a torchvision ResNet converted for Detectron2",
    signature="res2.0.conv1.weight",
    rename=rename_converted,
    style=TORCHVISION_STYLE,
)
PORT = WeightKind(
    title="a checkpoint of rock-pytorch",
    signature="feature_extractor.layer1.",
    rename=rename_port,
    style=TORCHVISION_STYLE,
)
DETECTRON2 = WeightKind(
    title="a checkpoint of Detectron2",
    signature="backbone.",
    rename=rename_detectron2,
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
