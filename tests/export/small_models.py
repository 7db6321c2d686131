"""Networks of any detector that are small, random and find objects."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2.config import load_config
from rock_d2.model_zoo import get_config_file

SIZE = (64, 96)
ROCK = ("MODEL.NECK.NAME", "ROCK")
_PYRAMID = (
    *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.NECK.AT", "bottom_up", "MODEL.ROCK.IN_FEATURES", ["res5"]),
    *("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]),
)
# Settings by the meta-architecture.
DETECTORS: dict[str, tuple[Any, ...]] = {
    "SSD": (),
    "RetinaNet": (
        *(*_PYRAMID, "MODEL.DETECTOR", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 5),
        *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
        *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"], "MODEL.RETINANET.PRIOR_PROB", 0.5),
    ),
    "GeneralizedRCNN": (
        *(*_PYRAMID, "MODEL.DETECTOR", "GeneralizedRCNN", "MODEL.MASK_ON", True),
        *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
        *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
        *("MODEL.RPN.IN_FEATURES", ["p2", "p3", "p4", "p5", "p6"]),
        *("MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_HEADS.NUM_CLASSES", 5),
        *("MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4", "p5"]),
        *("MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead", "MODEL.ROI_BOX_HEAD.NUM_FC", 1),
        *("MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),
        *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead", "MODEL.ROI_MASK_HEAD.NUM_CONV", 1),
        *("MODEL.ROI_MASK_HEAD.CONV_DIM", 16, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    ),
}


def small_config(*options: Any) -> CfgNode:
    """ResNet-18 to res3 for SSD, to res5 for a pyramid; ROCK and tasks of few channels."""
    fixed = ("MODEL.DEVICE", "cpu", "INPUT.SIZE", SIZE, "MODEL.SSD.EXTRA_CHANNELS", [8, 8])
    file = get_config_file("quick_schedules/ssd_rooms_quick.yaml")
    return load_config(file, [*fixed, *options])


def lively_model(cfg: CfgNode) -> nn.Module:
    """Return a model with statistics, shifts and scores that no initialisation has."""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            for values, low in ((module.weight, 0.5), (module.bias, -0.5)):
                values.data.uniform_(low, low + 1)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return model


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)
