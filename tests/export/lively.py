"""Small networks of any detector that find objects without any training."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tiny import SIZE, detector_cfg, with_random_norms
from torch import nn

DETECTORS = ("ssd", "retinanet", "fcos", "faster_rcnn")
# Every box is a detection.
NODES = ("SSD", "RETINANET", "FCOS", "ROI_HEADS")
EAGER = [part for node in NODES for part in (f"MODEL.{node}.SCORE_THRESH_TEST", 0.0)]


def rock_cfg(detector: str, *options: Any) -> CfgNode:
    # Images of such a scale spread the scores.
    fixed = ("MODEL.NECK.NAME", "ROCK", "MODEL.PIXEL_STD", [10.0] * 3, "MODEL.FPN.OUT_CHANNELS", 64)
    return detector_cfg(detector, *EAGER, *fixed, *options)


def lively_model(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    return with_random_norms(build_model(cfg).eval())


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)
