"""Detectron2's feature pyramids on top of a network of timm.

``MODEL.FPN.IN_FEATURES`` names maps of ``MODEL.TIMM.OUT_FEATURES``, such as ["s8", "s16", "s32"];
the pyramid's are "p3", "p4", "p5" and so on.
"""

import math

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import nn

from rock_d2.modeling.backbones.timm import TimmBackbone


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Return a pyramid with one more level by subsampling, as for Faster and Mask R-CNN."""
    bottom_up = TimmBackbone(cfg, input_shape)
    deepest = deepest_feature(cfg, bottom_up)
    top_block = LastLevelMaxPool()
    top_block.in_feature = f"p{int(math.log2(deepest.stride))}"
    return build_fpn(cfg, bottom_up, top_block)


@BACKBONE_REGISTRY.register()
def build_retinanet_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Return a pyramid with two more levels by convolutions, as for RetinaNet and FCOS."""
    bottom_up = TimmBackbone(cfg, input_shape)
    channels = deepest_feature(cfg, bottom_up).channels
    top_block = LastLevelP6P7(
        channels, cfg.MODEL.FPN.OUT_CHANNELS, in_feature=cfg.MODEL.FPN.IN_FEATURES[-1]
    )
    return build_fpn(cfg, bottom_up, top_block)


def deepest_feature(cfg: CfgNode, bottom_up: TimmBackbone) -> ShapeSpec:
    """Return the shape of the last map that the pyramid uses."""
    shapes, names = bottom_up.output_shape(), cfg.MODEL.FPN.IN_FEATURES
    if not names or not set(names) <= set(shapes):
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES: {names} are not some of MODEL.TIMM.OUT_FEATURES = "
            f"{list(shapes)}"
        )
    return shapes[names[-1]]


def build_fpn(cfg: CfgNode, bottom_up: TimmBackbone, top_block: nn.Module) -> FPN:
    node = cfg.MODEL.FPN
    return FPN(
        bottom_up=bottom_up,
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=top_block,
        fuse_type=node.FUSE_TYPE,
    )
