"""Layouts of weights: how files are recognised, and what their names are in a model."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from fvcore.common.registry import Registry

from rock_d2.modeling.backbones import timm_names
from rock_d2.modeling.rock_pytorch import PORT_BACKBONE, convert_port, port_name

Tensors = dict[str, torch.Tensor]

WEIGHT_FORMATS = Registry("WEIGHT_FORMATS")
WEIGHT_FORMATS.__doc__ = """
Subclasses of ``WeightFormat``. A file whose backbone has the model's own names is loaded as it is;
otherwise the formats are asked in turn, the last registered first.
"""

BACKBONE, PYRAMID = "backbone.", "backbone.bottom_up."

# How the images come that weights were trained with, by the settings' names. Microsoft's residual
# networks as Detectron and Detectron2 distribute them:
MSRA_STYLE = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
}
# 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255.
TORCHVISION_STYLE = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}


class WeightFormat:
    """A layout of weights; this one is the model's own.

    Attributes:
        title: for messages.
        signature: with which a name starts in each such file and in no other.
        fills: the part of the model that such a file must fill completely: "backbone", "model", or
            "" if none has to be.
        remedy: for messages: how to get a model that such a file fits.
    """

    title = "weights with the model's own names"
    signature = ""
    fills = ""
    remedy = "compare MODEL.BACKBONE and MODEL.RESNETS with the network of these weights"

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        return any(name.startswith(self.signature) for name in tensors)

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        """Return the settings of the images that such weights were trained with, if known."""
        return {}

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        """Return a file's tensors by their names in the model."""
        return tensors


@WEIGHT_FORMATS.register()
class ResNetFormat(WeightFormat):
    """The names of Detectron2's ResNet, or others, for one that is anywhere in the model."""

    title = "a torchvision ResNet converted for Detectron2"
    signature = "res2.0.conv1.weight"
    fills = "backbone"

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        return TORCHVISION_STYLE

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        place, renamed = backbone_place(model_names), map(self.rename, tensors)
        # Detectors without a pyramid have conv5 in their heads.
        names = [
            f"roi_heads.{n}" if f"roi_heads.{n}" in model_names else place + n for n in renamed
        ]
        return dict(zip(names, tensors.values(), strict=True))

    def rename(self, name: str) -> str:
        """Return a tensor's name in a ResNet."""
        return name


def backbone_place(names: Collection[str]) -> str:
    """Return what the names of the backbone's tensors start with, below a pyramid if it has one."""
    return PYRAMID if any(name.startswith(PYRAMID) for name in names) else BACKBONE


@WEIGHT_FORMATS.register()
class Detectron2Format(WeightFormat):
    """A backbone with a pyramid for a model without one, or the other way round."""

    title = "a checkpoint of Detectron2"
    signature = BACKBONE

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        there, here = f"^{re.escape(backbone_place(tensors))}", backbone_place(model_names)
        return {re.sub(there, here, name): x for name, x in tensors.items()}


@WEIGHT_FORMATS.register()
class Caffe2Format(ResNetFormat):
    """``res2_0_branch2a_w``."""

    title = "a Caffe2 ResNet of Detectron2"
    signature = "res2_0_branch2a_w"

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        # ResNeXt has grouped convolutions, and its publishers' settings differ.
        weight = tensors.get("res2_0_branch2b_w")
        is_grouped = weight is not None and weight.shape[0] != weight.shape[1]
        return {} if is_grouped else MSRA_STYLE

    def rename(self, name: str) -> str:
        return convert_basic_c2_names([name])[0]


@WEIGHT_FORMATS.register()
class TorchvisionFormat(ResNetFormat):
    """``layer1.0.conv1.weight``."""

    title = "a torchvision or timm ResNet"
    signature = "layer1.0.conv1.weight"

    def rename(self, name: str) -> str:
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
        stage = re.match(r"layer(\d)\.", name)
        return f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"


@WEIGHT_FORMATS.register()
class TimmFormat(WeightFormat):
    """timm's own names, for a backbone of timm: ``stages.0.blocks.1.norm.weight``."""

    title = "a network of timm"
    fills = "backbone"

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        return bool(self.translate(tensors, model_names))

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        place = backbone_place(model_names)
        own = {name.removeprefix(place) for name in model_names if name.startswith(place)}
        names = timm_names(tensors, own)
        return {f"{place}{name}": tensors[stored] for stored, name in names.items()}


@WEIGHT_FORMATS.register()
class PortFormat(TorchvisionFormat):
    """A checkpoint of rock-pytorch."""

    title = "a checkpoint of rock-pytorch"
    signature = f"{PORT_BACKBONE}layer1."
    fills = "model"
    remedy = "use configs/port/ssd_nyuv2.yaml or configs/port/rock_nyuv2.yaml"

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        backbone = {name: x for name, x in tensors.items() if name.startswith(PORT_BACKBONE)}
        rest = {port_name(name): x for name, x in tensors.items() if name not in backbone}
        resnet = {name.removeprefix(PORT_BACKBONE): x for name, x in backbone.items()}
        return super().translate(resnet, model_names) | convert_port(rest)


def find_format(path: str, tensors: Tensors, model_names: Collection[str]) -> WeightFormat:
    """Return the format of a file's tensors; raise ValueError if none fits."""
    if any(name.startswith(BACKBONE) for name in tensors.keys() & set(model_names)):
        return WeightFormat()
    formats = [kind() for _, kind in WEIGHT_FORMATS]
    for found in reversed(formats):
        if found.recognises(tensors, model_names):
            return found
    raise ValueError(
        f"{path}: names such as {', '.join(list(tensors)[:3])} belong to no known layout; "
        f"MODEL.WEIGHTS takes {', '.join(kind.title for kind in formats)}"
    )


def learned(names: Collection[str]) -> list[str]:
    """Return the names of parameters and statistics: not those of counted batches."""
    return [name for name in names if not name.endswith("num_batches_tracked")]
