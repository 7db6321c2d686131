"""Backbones beside Detectron2's own; importing this package registers them."""

from rock_d2.modeling.backbones.pyramid import (
    build_retinanet_timm_fpn_backbone,
    build_timm_fpn_backbone,
)
from rock_d2.modeling.backbones.timm import TimmBackbone, add_timm_config, timm_names
