"""Layouts of weights: how files are recognised, and what their names are in a model."""

import re
from collections.abc import Collection, Mapping, Sequence
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
# TensorFlow's EfficientNet-Lite, whose inputs are in [-1, 1] to the quantisation of its int8 form.
LITE_STYLE = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [127.0, 127.0, 127.0],
    "MODEL.PIXEL_STD": [128.0, 128.0, 128.0],
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


# timm's names of EfficientNet-Lite's layers, and of those in a block with an expansion or without.
LITE_LAYERS = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2"}
LITE_LAYERS |= {"fc": "classifier"}
LITE_EXPANDED = {"expand_conv": "conv_pw", "depthwise_conv": "conv_dw", "project_conv": "conv_pwl"}
LITE_EXPANDED |= {"bn0": "bn1", "bn1": "bn2", "bn2": "bn3"}
LITE_PLAIN = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}


@WEIGHT_FORMATS.register()
class EfficientNetLiteFormat(TimmFormat):
    """``_blocks.4._project_conv.weight``, for timm's ``blocks.2.1.conv_pwl.weight``.

    The package numbers the blocks through all stages, timm within each.
    """

    title = "an EfficientNet-Lite of efficientnet_lite_pytorch"
    signature = "_conv_stem.weight"
    remedy = "set MODEL.TIMM.NAME to the same network of timm, such as tf_efficientnet_lite0"

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        return self.signature in tensors

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        return LITE_STYLE

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        found = (re.search(r"\bblocks\.\d+\.\d+", name) for name in model_names)
        blocks = list(dict.fromkeys(match[0] for match in found if match))
        names = {name: self.timm_name(name, tensors, blocks) for name in tensors}
        return super().translate({new: tensors[n] for n, new in names.items() if new}, model_names)

    def timm_name(self, name: str, stored: Collection[str], blocks: Sequence[str]) -> str:
        """Return timm's name, or "" for blocks after the last one of the model."""
        *path, layer, kind = name.replace("_", "", 1).replace("._", ".").split(".")
        if not path:
            return f"{LITE_LAYERS[layer]}.{kind}"
        index = int(path[1])
        is_expanded = f"_blocks.{index}._expand_conv.weight" in stored
        layers = LITE_EXPANDED if is_expanded else LITE_PLAIN
        return f"{blocks[index]}.{layers[layer]}.{kind}" if index < len(blocks) else ""


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
