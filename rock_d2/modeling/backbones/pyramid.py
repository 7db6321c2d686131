"""Detectron2's feature pyramids on top of a network of timm.

``MODEL.FPN.IN_FEATURES`` names maps of ``MODEL.TIMM.OUT_FEATURES``, such as ["s8", "s16", "s32"];
the pyramid's are "p3", "p4", "p5" and so on.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7

from rock_d2.modeling.backbones.timm import TimmBackbone


class SelectiveFPN(FPN):
    """A pyramid of which only some levels are returned, and the layers of the others frozen.

    Parameters without a gradient would stop DistributedDataParallel.
    """

    def __init__(self, *, out_features: Sequence[str], **settings: Any):
        super().__init__(**settings)
        levels = list(super().output_shape())
        if not set(out_features) <= set(levels):
            raise ValueError(f"MODEL.FPN.OUT_FEATURES: {out_features} are not some of {levels}")
        self.selected = list(out_features)
        # The last level is subsampled from the one before.
        used = {*out_features, *(levels[-2:] if levels[-1] in out_features else ())}
        for level in levels[:-1]:
            self.get_submodule(f"fpn_output{level[1:]}").requires_grad_(level in used)
            # Deeper maps reach a level, shallower ones do not.
            self.get_submodule(f"fpn_lateral{level[1:]}").requires_grad_(level >= min(used))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = super().forward(x)
        return {name: maps[name] for name in self.selected}

    def output_shape(self) -> dict[str, ShapeSpec]:
        shapes = super().output_shape()
        return {name: shapes[name] for name in self.selected}


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Return a pyramid with one more level by subsampling, as for Faster and Mask R-CNN."""
    bottom_up = TimmBackbone(cfg, input_shape)
    deepest = deepest_feature(cfg, bottom_up)
    top_block = LastLevelMaxPool()
    top_block.in_feature = f"p{int(math.log2(deepest.stride))}"
    settings = fpn_settings(cfg, bottom_up)
    if cfg.MODEL.FPN.OUT_FEATURES:
        selected = cfg.MODEL.FPN.OUT_FEATURES
        return SelectiveFPN(out_features=selected, top_block=top_block, **settings)
    return FPN(top_block=top_block, **settings)


@BACKBONE_REGISTRY.register()
def build_retinanet_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Return a pyramid with two more levels by convolutions, as for RetinaNet and FCOS."""
    bottom_up = TimmBackbone(cfg, input_shape)
    channels = deepest_feature(cfg, bottom_up).channels
    top_block = LastLevelP6P7(
        channels, cfg.MODEL.FPN.OUT_CHANNELS, in_feature=cfg.MODEL.FPN.IN_FEATURES[-1]
    )
    return FPN(top_block=top_block, **fpn_settings(cfg, bottom_up))


def deepest_feature(cfg: CfgNode, bottom_up: TimmBackbone) -> ShapeSpec:
    shapes, names = bottom_up.output_shape(), cfg.MODEL.FPN.IN_FEATURES
    if not names or not set(names) <= set(shapes):
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES: {names} are not some of MODEL.TIMM.OUT_FEATURES = "
            f"{list(shapes)}"
        )
    return shapes[names[-1]]


def fpn_settings(cfg: CfgNode, bottom_up: TimmBackbone) -> dict[str, Any]:
    node = cfg.MODEL.FPN
    return {
        "bottom_up": bottom_up,
        "in_features": node.IN_FEATURES,
        "out_channels": node.OUT_CHANNELS,
        "norm": node.NORM,
        "fuse_type": node.FUSE_TYPE,
    }
