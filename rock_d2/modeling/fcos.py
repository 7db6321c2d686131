"""Detectron2's FCOS by a config: Detectron2 itself builds it from Python configs only."""

import math
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch import fcos
from detectron2.structures import Boxes, Instances
from torch import nn

from rock_d2.classes import with_num_classes


def add_fcos_config(cfg: CfgNode) -> None:
    """Add ``MODEL.FCOS``, with the settings of Detectron2's model zoo.

    Its network takes P6 from P5; the pyramid of configs/detectors takes it from C5, as RetinaNet.
    """
    cfg.MODEL.FCOS = CfgNode()
    # 0: as many as the first training set has thing_classes.
    cfg.MODEL.FCOS.NUM_CLASSES = 0
    # Maps of the backbone that it predicts from.
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # Convolutions of each branch of the head, and their normalisation.
    cfg.MODEL.FCOS.NUM_CONVS = 4
    cfg.MODEL.FCOS.NORM = "GN"
    # Points within this many strides of an object's centre learn it.
    cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    # Score that a detection has at least.
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.2
    # Boxes of each map that go into NMS.
    cfg.MODEL.FCOS.TOPK_CANDIDATES_TEST = 1000
    # IoU above which NMS takes two boxes of a class for the same object.
    cfg.MODEL.FCOS.NMS_THRESH_TEST = 0.6


@META_ARCH_REGISTRY.register()
class FCOS(fcos.FCOS):
    """FCOS (Tian et al., ICCV 2019) as Detectron2 has it."""

    @configurable
    def __init__(self, **settings: Any):
        super().__init__(**settings)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, backbone = with_num_classes(cfg).MODEL.FCOS, build_backbone(cfg)
        known = backbone.output_shape()
        if not node.IN_FEATURES or not set(node.IN_FEATURES) <= known.keys():
            raise ValueError(
                f"MODEL.FCOS.IN_FEATURES is {node.IN_FEATURES}; it must be some of {[*known]}"
            )
        if node.NUM_CONVS < 1:
            raise ValueError(f"MODEL.FCOS.NUM_CONVS is {node.NUM_CONVS}; it must be 1 or more")
        shapes = [known[name] for name in node.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": fcos.FCOSHead(
                input_shape=shapes,
                num_classes=node.NUM_CLASSES,
                conv_dims=[shapes[0].channels] * node.NUM_CONVS,
                norm=group_norm if node.NORM == "GN" else node.NORM,
            ),
            "head_in_features": node.IN_FEATURES,
            "num_classes": node.NUM_CLASSES,
            "center_sampling_radius": node.CENTER_SAMPLING_RADIUS,
            "test_score_thresh": node.SCORE_THRESH_TEST,
            "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": node.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[torch.Tensor],
        gt_labels: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        *rest: Any,
    ) -> dict[str, torch.Tensor]:
        # Under autocast, Detectron2's GIoU would get numbers of two types.
        deltas = [x.float() for x in pred_anchor_deltas]
        return super().losses(anchors, pred_logits, gt_labels, deltas, *rest)

    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[Boxes]]:
        """Return what each anchor learns; Detectron2 fails on images without objects."""
        labels, boxes = [], []
        everywhere = Boxes.cat(anchors)
        # Detectron2's main branch has tensors here.
        nothing = everywhere if hasattr(fcos.FCOS, "match_anchors") else everywhere.tensor
        for objects in gt_instances:
            if len(objects):
                (label,), (box,) = super().label_anchors(anchors, [objects])
            else:
                background = objects.gt_classes.new_full((1,), self.num_classes)
                label, box = background.expand(len(everywhere)), nothing
            labels.append(label)
            boxes.append(box)
        return labels, boxes


def group_norm(channels: int) -> nn.Module:
    """Return Detectron2's "GN" of 32 groups; its RetinaNetHead also asks for one of 1 channel."""
    return nn.GroupNorm(math.gcd(32, channels), channels)
