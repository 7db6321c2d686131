"""Layouts of weights: how files are recognised, and what their names are in a model."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from fvcore.common.registry import Registry

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
# Detectron2's X-101-32x8d.
RESNEXT_STYLE = {
    **MSRA_STYLE,
    "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}
# 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255.
TORCHVISION_STYLE = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}


class WeightFormat:
    """A layout of weights; as it is, that of the model itself.

    Attributes:
        title: for messages.
        signature: with which a name starts in each such file and in no other.
        fills: the part of the model that such a file must fill completely: "backbone", "model", or
            "" for whatever has the same name.
        configs: those whose models such a file fills, for messages.
    """

    title = "weights with the model's own names"
    signature = ""
    fills = ""
    configs = ""

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        return any(name.startswith(self.signature) for name in tensors)

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        """Return the settings of the images that such weights were trained with, if known."""
        return {}

    def rename(self, name: str) -> str:
        """Return a tensor's name in a model, with ``backbone.`` for the place of the backbone."""
        return name

    def convert(self, tensors: Tensors) -> Tensors:
        """Return the renamed tensors with the values that a model needs."""
        return tensors

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        """Return a file's tensors by their names in the model."""
        place = backbone_place(model_names)
        names = {name: self.rename(name) for name in tensors}
        return self.convert(
            {re.sub(f"^{BACKBONE}", place, names[name]): x for name, x in tensors.items()}
        )


def backbone_place(model_names: Collection[str]) -> str:
    """Return what the names of all tensors of the backbone, below a pyramid, start with."""
    inside = [name for name in model_names if name.startswith(PYRAMID)]
    inside = inside or [name for name in model_names if name.startswith(BACKBONE)]
    common = os.path.commonprefix([name.split(".")[:-1] for name in inside])
    return "".join(f"{part}." for part in common) or BACKBONE


@WEIGHT_FORMATS.register()
class Detectron2Format(WeightFormat):
    """Of a detector whose backbone is in a feature pyramid while the model's is not, or reverse."""

    title = "a checkpoint of Detectron2"
    signature = BACKBONE

    def translate(self, tensors: Tensors, model_names: Collection[str]) -> Tensors:
        def place(names: Collection[str]) -> str:
            return PYRAMID if any(name.startswith(PYRAMID) for name in names) else BACKBONE

        there, here = f"^{re.escape(place(tensors))}", place(model_names)
        return {re.sub(there, here, name): x for name, x in tensors.items()}


@WEIGHT_FORMATS.register()
class Caffe2Format(WeightFormat):
    """``res2_0_branch2a_w``."""

    title = "a Caffe2 ResNet of Detectron2"
    signature = "res2_0_branch2a_w"
    fills = "backbone"

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        weight = tensors.get("res2_0_branch2b_w")
        is_grouped = weight is not None and weight.shape[0] != weight.shape[1]
        return RESNEXT_STYLE if is_grouped else MSRA_STYLE

    def rename(self, name: str) -> str:
        return f"{BACKBONE}{convert_basic_c2_names([name])[0]}"


@WEIGHT_FORMATS.register()
class TorchvisionFormat(WeightFormat):
    """``layer1.0.conv1.weight``."""

    title = "a torchvision or timm ResNet"
    signature = "layer1.0.conv1.weight"
    fills = "backbone"

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        return TORCHVISION_STYLE

    def rename(self, name: str) -> str:
        if name.startswith("fc."):
            return name
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
        stage = re.match(r"layer(\d)\.", name)
        place = f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"
        return f"{BACKBONE}{place}"


@WEIGHT_FORMATS.register()
class BareBackboneFormat(WeightFormat):
    """The names below the model's backbone, all of them: timm's, for a backbone of timm."""

    title = "the weights of a backbone"
    fills = "backbone"

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        place = backbone_place(model_names)
        return all(
            name.removeprefix(place) in tensors
            for name in learned(model_names)
            if name.startswith(place)
        )

    def rename(self, name: str) -> str:
        return f"{BACKBONE}{name}"


@WEIGHT_FORMATS.register()
class ConvertedFormat(BareBackboneFormat):
    """``res2.0.conv1.weight``."""

    title = "a torchvision ResNet converted for Detectron2"
    signature = "res2.0.conv1.weight"

    def recognises(self, tensors: Tensors, model_names: Collection[str]) -> bool:
        return self.signature in tensors

    def style(self, tensors: Tensors) -> Mapping[str, Any]:
        return TORCHVISION_STYLE


@WEIGHT_FORMATS.register()
class PortFormat(TorchvisionFormat):
    """The network of rock-pytorch, a public port of ROCK; see ``modeling/rock_pytorch.py``."""

    title = "a checkpoint of rock-pytorch"
    signature = "feature_extractor.layer1."
    fills = "model"
    configs = "configs/port/ssd_nyuv2.yaml or configs/port/rock_nyuv2.yaml"

    # Patterns and their replacements, one after another.
    NAMES = (
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

    def rename(self, name: str) -> str:
        if name.startswith("feature_extractor."):
            return super().rename(name.removeprefix("feature_extractor."))
        for pattern, replacement in self.NAMES:
            name = re.sub(pattern, replacement, name)
        return name

    def convert(self, tensors: Tensors) -> Tensors:
        """Return our order of the predictors' channels, and convolutions without needless biases.

        A predictor's channels are box by box here, and output by output there; the background is
        the last class here, and the first there. A bias before batch normalisation is the same as
        a smaller running mean.
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
