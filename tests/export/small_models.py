"""Networks of any detector that are small, random and find objects."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2.config import load_config
from rock_d2.model_zoo import get_config_file

SIZE = (64, 96)
DETECTORS = {
    "SSD": "rock/rock_rooms.yaml",
    "RetinaNet": "detectors/retinanet_rock_rooms.yaml",
    "FCOS": "detectors/fcos_rock_rooms.yaml",
    "GeneralizedRCNN": "detectors/faster_rcnn_rock_rooms.yaml",
}
SETTINGS = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE", SIZE, "MODEL.SSD.EXTRA_CHANNELS", [8, 8]),
    *("MODEL.ROCK.WIDTH", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", 20, "MODEL.RPN.POST_NMS_TOPK_TEST", 10),
    # Objects are found although nothing is learned.
    *("MODEL.SSD.PRIOR_PROB", 0.95, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0),
    *("MODEL.FCOS.SCORE_THRESH_TEST", 0.0, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
)


def small_config(detector: str, *options: Any) -> CfgNode:
    return load_config(get_config_file(DETECTORS[detector]), [*SETTINGS, *options])


def lively_model(cfg: CfgNode) -> nn.Module:
    """Return a model with statistics and scales that no initialisation has."""
    torch.manual_seed(0)
    return lively_norms(build_model(cfg).eval())


def lively_norms(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            for values, low in ((module.weight, 0.5), (module.bias, -0.5)):
                values.data.uniform_(low, low + 1)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return model


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)
