"""Networks small enough for one CPU core, and batches for them."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

from rock_d2 import model_zoo
from rock_d2.classes import with_num_classes
from rock_d2.modeling.ssd.detector import SSD

SIZE = (96, 128)
NUM_CLASSES = 3
LABELS = ("depth", "normals", "scene")
# Options of every SSD that must train, by what a test calls it.
MODELS = {
    "baseline": ["MODEL.NECK.NAME", "IdentityNeck"],
    "flat": ["MODEL.NECK.NAME", "FlatMTL"],
    "rock": ["MODEL.NECK.NAME", "ROCK"],
}
# The detectors of configs/rooms_scratch, by the names of their files.
DETECTORS = ("retinanet", "fcos", "faster_rcnn", "mask_rcnn")
NARROW = (
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROCK.WIDTH", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 16, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 30, "MODEL.RPN.POST_NMS_TOPK_TEST", 10),
)


def base_cfg(*options: Any) -> CfgNode:
    """The paper's model without weights; ``options`` are pairs as on the command line."""
    cfg = model_zoo.get_config("Base-SSD-R50.yaml")
    cfg.merge_from_list(["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *options])
    return cfg


def tiny_cfg(*options: Any) -> CfgNode:
    """SSD on a ResNet-18 at stride 32, for 96 x 128: maps of 3 x 4, 2 x 2 and 1 x 1."""
    settings = (
        *("INPUT.SIZE", list(SIZE), "MODEL.SSD.NUM_CLASSES", NUM_CLASSES),
        *("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
        *("MODEL.RESNETS.RES5_DILATION", 1, "MODEL.SSD.EXTRA_CHANNELS", [16, 8, 8]),
        # Batches of one image, and the same losses in two processes as in one.
        *("MODEL.SSD.NORM", "", "MODEL.ROCK.WIDTH", 16, "MODEL.TASKS.SCENE.NUM_CLASSES", 5),
        *("MODEL.TASKS.DEPTH.CHANNELS", 4, "MODEL.TASKS.NORMALS.CHANNELS", 6),
    )
    return base_cfg(*settings, *options)


def tiny_model(*options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(tiny_cfg(*options))


def on_meta(cfg: CfgNode) -> nn.Module:
    """Return the model without its values, which takes no time."""
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def detector_cfg(name: str, *options: Any) -> CfgNode:
    """A detector of configs/detectors with fewer channels, or the tiny "ssd"."""
    if name == "ssd":
        return tiny_cfg(*options)
    cfg = with_num_classes(model_zoo.get_config(f"rooms_scratch/{name}_plain_rooms.yaml"))
    cfg.merge_from_list([*NARROW, *options])
    return cfg


def bare_ssd(*, iou_thresholds: Sequence[float] = (0.4, 0.5)) -> SSD:
    """SSD's matching, coding and losses without any network, unweighted."""
    return SSD(
        backbone=nn.Identity(),
        head=nn.Identity(),
        iou_thresholds=iou_thresholds,
        box_weights=(10.0, 10.0, 5.0, 5.0),
        neg_pos_ratio=3.0,
        smooth_l1_beta=1.0,
        cls_loss_weight=1.0,
        box_reg_loss_weight=1.0,
        score_thresh=0.5,
        topk_candidates=400,
        nms_thresh=0.5,
        max_detections_per_image=100,
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
    )


def with_random_norms(module: nn.Module) -> nn.Module:
    """Give batch normalisation the statistics and weights that a training might."""
    for norm in module.modules():
        if getattr(norm, "running_mean", None) is not None:
            for values, low in ((norm.weight, 0.5), (norm.bias, -0.5)):
                values.data.uniform_(low, low + 1)
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2)
    return module


def random_boxes(count: int, *, size: tuple[int, int], smallest: float) -> torch.Tensor:
    """(count, 4) boxes inside an image of ``size`` with sides of at least ``smallest``."""
    bounds = torch.tensor(size[::-1], dtype=torch.float32)
    sides = smallest + torch.rand(count, 2) * (bounds / 2 - smallest)
    corner = torch.rand(count, 2) * (bounds - sides)
    return torch.cat([corner, corner + sides], dim=1)


def item(
    seed: int, *, objects: int = 3, labels: Sequence[str] = LABELS, size: tuple[int, int] = SIZE
) -> dict[str, Any]:
    """A batch item as the mapper makes it, with the named labels only."""
    torch.manual_seed(seed)
    normals = torch.randn(3, *size)
    normals[2] = -normals[2].abs()
    known = torch.rand(1, *size) > 0.2
    values = {
        "depth": (1 + 9 * torch.rand(1, *size)) * known,
        "normals": nn.functional.normalize(normals, dim=0) * known,
        "scene": seed % 5,
    }
    instances = Instances(size)
    instances.gt_boxes = Boxes(random_boxes(objects, size=size, smallest=16))
    instances.gt_classes = torch.randint(NUM_CLASSES, (objects,))
    instances.gt_masks = box_masks(instances.gt_boxes.tensor, size)
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    return {
        "image": image,
        "instances": instances,
        **{name: value for name, value in values.items() if name in labels},
    }


def box_masks(boxes: torch.Tensor, size: tuple[int, int]) -> BitMasks:
    """Each object fills its box."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(dim=1)
    return BitMasks((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
