"""Any network of timm that gives feature maps, as a backbone of Detectron2.

Shape keys: N images of H x W pixels; a map of stride s has about H / s x W / s places.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import timm
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.layers import convert_sync_batchnorm
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.hrnet import HighResolutionNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from timm.utils.model import freeze_batch_norm_2d
from torch import nn

from rock_d2.registry import check_choice

# Names that timm gives to stages: layer1 (ResNet), stages_0 (ConvNeXt), blocks.0 (EfficientNet),
# layers_0 (Swin), stage2 (HRNet), s1 (RegNet), level1 (DLA).
STAGE = re.compile(r"(layers?|stages?|blocks|level|s)[._]?\d+(?=\.|$)")
# What the families need beyond timm's defaults. HRNet: the branches themselves, not the wider maps
# of its classifier. Swin: images of any size.
ARGUMENTS = {"hrnet": {"feature_location": ""}, "swin": {"strict_img_size": False}}
# Families whose inputs must have sides that are multiples of 32.
PADDED = ("dla", "hrnet", "swin")
NORMS = ("", "BN", "SyncBN", "FrozenBN")


def add_timm_config(cfg: CfgNode) -> None:
    cfg.MODEL.TIMM = CfgNode()
    # A name of timm.list_models(), with or without the tag of its weights.
    cfg.MODEL.TIMM.NAME = "resnet50"
    # Load timm's weights, which needs a network. They expect INPUT.FORMAT "RGB" and mostly
    # MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], MODEL.PIXEL_STD [58.395, 57.12, 57.375].
    cfg.MODEL.TIMM.PRETRAINED = False
    # "s<stride>", the deepest map of that stride. Name the used ones only: parts of HRNet that
    # serve others have no gradient, which stops DistributedDataParallel.
    cfg.MODEL.TIMM.OUT_FEATURES = ["s8", "s16", "s32"]
    # 16 or 8 dilates the last stages of networks that can (ResNet, EfficientNet, ConvNeXt).
    cfg.MODEL.TIMM.OUTPUT_STRIDE = 32
    # Freeze the stem (1) and the stages after it (2, 3, ...), with their batch statistics.
    cfg.MODEL.TIMM.FREEZE_AT = 0
    # Batch normalisation: "" and "BN" as timm has it, "SyncBN", "FrozenBN".
    cfg.MODEL.TIMM.NORM = ""
    # Levels that build_timm_fpn_backbone returns, such as ["p3"]; [] for all.
    cfg.MODEL.FPN.OUT_FEATURES = []


@BACKBONE_REGISTRY.register()
class TimmBackbone(Backbone):
    """Feature maps "s<stride>" of a network of timm.

    The parameters are named ``net.<timm's name>``; `timm_names` maps those of timm's files.

    HRNet has bilinear upsampling and a momentum of 0.01 in batch normalisation, as its authors have
    for dense tasks; timm has nearest and 0.1.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str],
        pretrained: bool = False,
        output_stride: int = 32,
        freeze_at: int = 0,
        norm: str = "",
        in_channels: int = 3,
    ):
        """``add_timm_config`` explains the settings."""
        super().__init__()
        check_choice(norm, NORMS, setting="MODEL.TIMM.NORM")
        self._divisibility = 32 if name.startswith(PADDED) else 0
        self.net = build_network(
            name,
            out_features,
            pretrained=pretrained,
            output_stride=output_stride,
            in_chans=in_channels,
        )
        self._names = feature_names(self.net)
        self._out_features = list(out_features)
        channels = dict(zip(self._names, self.net.feature_info.channels(), strict=True))
        self._out_feature_channels = {name: channels[name] for name in out_features}
        self._out_feature_strides = {name: int(name[1:]) for name in out_features}
        freeze(self.net, freeze_at, name=name)
        self.net = convert_norms(self.net, norm, name=name)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        node = cfg.MODEL.TIMM
        return {
            "name": node.NAME,
            "out_features": node.OUT_FEATURES,
            "pretrained": node.PRETRAINED,
            "output_stride": node.OUTPUT_STRIDE,
            "freeze_at": node.FREEZE_AT,
            "norm": node.NORM,
            "in_channels": input_shape.channels,
        }

    @property
    def size_divisibility(self) -> int:
        return self._divisibility

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the maps (N, C, H / s, W / s) of images (N, 3, H, W)."""
        maps = self.net(images)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        named = dict(zip(self._names, maps, strict=True))
        return {name: named[name] for name in self._out_features}


def build_network(
    name: str, out_features: Sequence[str], *, pretrained: bool, output_stride: int, **arguments
) -> nn.Module:
    """Return timm's network up to the deepest of the features."""
    if output_stride != 32:
        arguments["output_stride"] = output_stride
    for family, extra in ARGUMENTS.items():
        if name.startswith(family):
            arguments |= extra
    net = create(name, pretrained=pretrained, **arguments)
    names = feature_names(net)
    if not out_features or not set(out_features) <= set(names):
        raise ValueError(
            f"MODEL.TIMM.OUT_FEATURES: {list(out_features)} are not some of {sorted(set(names))}, "
            f"which {name!r} has with MODEL.TIMM.OUTPUT_STRIDE = {output_stride}"
        )
    # The last map of a stride is the one that is meant.
    last = {feature: index for index, feature in enumerate(names)}
    deepest = max(last[feature] for feature in out_features)
    if deepest < len(names) - 1:
        # Parameters without a gradient would stop DistributedDataParallel.
        indices = tuple(range(deepest + 1))
        net = create(name, pretrained=pretrained, out_indices=indices, **arguments)
    if isinstance(net, EfficientNetFeatures | MobileNetV3Features):
        cut(net)
    if isinstance(net, HighResolutionNetFeatures):
        prepare_hrnet(net, out_features)
    return net


def create(name: str, *, pretrained: bool, **arguments) -> nn.Module:
    """Return ``timm.create_model(name, features_only=True)``; one line says what is wrong."""
    if not timm.is_model(name):
        raise ValueError(f"MODEL.TIMM.NAME: timm {timm.__version__} has no network {name!r}")
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **arguments)
    except (AssertionError, AttributeError, NotImplementedError, TypeError) as error:
        setting = "OUTPUT_STRIDE" if "output_stride" in arguments else "NAME"
        raise ValueError(
            f"MODEL.TIMM.{setting}: {name!r} gives no feature maps with {arguments}: {error!r}"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"MODEL.TIMM.PRETRAINED: no weights of {name!r} ({reason}); connect to the network "
            "or set it to False and MODEL.WEIGHTS to a file"
        ) from error


def feature_names(net: nn.Module) -> list[str]:
    return [f"s{stride}" for stride in net.feature_info.reduction()]


def cut(net: EfficientNetFeatures | MobileNetV3Features) -> None:
    """Remove the stages after the last feature, which timm leaves in."""
    last = re.fullmatch(r"blocks\.(\d+)", net.feature_info.module_name()[-1])
    net.blocks = net.blocks[: int(last[1]) + 1 if last else 0]


def prepare_hrnet(net: HighResolutionNetFeatures, out_features: Collection[str]) -> None:
    """Take its authors' settings for dense tasks, and freeze what serves branches not taken."""
    for module in net.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    for stride, layers in zip((4, 8, 16, 32), net.stage4[-1].fuse_layers, strict=True):
        layers.requires_grad_(f"s{stride}" in out_features)


def part_numbers(names: Iterable[str]) -> dict[str, int]:
    """Return the part of each module or parameter, in the network's order: 0 is the stem.

    What stands between two stages (HRNet's transitions) belongs to the later one.
    """
    seen: list[str] = []
    numbers = {}
    for name in names:
        match = STAGE.match(name)
        if match and match[0] not in seen:
            seen.append(match[0])
        numbers[name] = seen.index(match[0]) + 1 if match else len(seen) + bool(seen)
    return numbers


def freeze(net: nn.Module, freeze_at: int, *, name: str) -> None:
    """Freeze the first parts: no gradient, and batch normalisation with fixed statistics."""
    parts = part_numbers(key for key, _ in net.named_parameters())
    num_parts = max(parts.values()) + 1
    if freeze_at and num_parts == 1:
        raise ValueError(f"MODEL.TIMM.FREEZE_AT: the stages of {name!r} are not known; set it to 0")
    if not 0 <= freeze_at <= num_parts:
        raise ValueError(
            f"MODEL.TIMM.FREEZE_AT: {freeze_at} is not in 0 ... {num_parts}, the parts of {name!r}"
        )
    for key, parameter in net.named_parameters():
        if parts[key] < freeze_at:
            parameter.requires_grad_(False)
    norms = [key for key, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    norms = [key for key in norms if parts[f"{key}.weight"] < freeze_at]
    # Without names, timm would freeze everything.
    if norms:
        timm.utils.freeze(net, norms)


def convert_norms(net: nn.Module, norm: str, *, name: str) -> nn.Module:
    """Return the network with its batch normalisations as ``norm`` says; frozen ones stay so."""
    has_any = any("running_mean" in key for key, _ in net.named_buffers())
    if norm and not has_any:
        raise ValueError(f"MODEL.TIMM.NORM: {name!r} has no batch normalisation; set it to ''")
    if norm == "SyncBN":
        return convert_sync_batchnorm(net)
    if norm == "FrozenBN":
        return freeze_batch_norm_2d(net)
    return net


def timm_names(stored: Iterable[str], own: Collection[str]) -> dict[str, str]:
    """Map the names in a file of timm to those of a TimmBackbone, without what it has not.

    "stages.0.blocks.1.norm.weight" is "net.stages_0.blocks.1.norm.weight": timm's feature
    extractors have "_" for the first "." of some families.
    """
    names = {}
    for name in stored:
        for candidate in (f"net.{name}", f"net.{name.replace('.', '_', 1)}"):
            if candidate in own:
                names[name] = candidate
    return names
