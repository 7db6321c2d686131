"""SSD on any backbone of Detectron2 (SSD; ROCK, figure 1).

N images, A default boxes, C classes of objects (class C is the background), M ground truths of
the fullest image, padded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import ImageList
from torch import nn

from rock_d2.classes import with_num_classes
from rock_d2.layers import mean_over_processes, own_seed
from rock_d2.modeling.ignored_classes import ignored_classes
from rock_d2.modeling.ssd.detection import detect
from rock_d2.modeling.ssd.head import build_ssd_head
from rock_d2.modeling.ssd.losses import box_loss, hard_negative_loss, matched_deltas
from rock_d2.modeling.ssd.matcher import SSDMatcher, pairwise_iou


class Truths(NamedTuple):
    """The ground truths of a batch.

    Attributes:
        boxes: (N, M, 4).
        classes: int64 (N, M).
        present: bool (N, M), false where a row is padding.
        known: bool (N,), false where nobody has looked for objects.
        ignored: bool (N, C + 1), true for classes that nobody has looked for.
    """

    boxes: torch.Tensor
    classes: torch.Tensor
    present: torch.Tensor
    known: torch.Tensor
    ignored: torch.Tensor


@META_ARCH_REGISTRY.register()
class SSD(nn.Module):
    """Single-shot detector; takes images of any size.

    Training images without ``instances`` have unknown boxes: they have no loss, and the head's
    batch normalisation sees them. An item's ``ignored_classes`` have no part in its softmax.
    """

    takes_unknown_boxes = True
    takes_ignored_classes = True

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        iou_thresholds: Sequence[float],
        box_weights: Sequence[float],
        neg_pos_ratio: float,
        smooth_l1_beta: float,
        cls_loss_weight: float,
        box_reg_loss_weight: float,
        score_thresh: float,
        topk_candidates: int,
        nms_thresh: float,
        max_detections_per_image: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        """``config.py`` explains what MODEL.SSD has a setting for."""
        super().__init__()
        if len(box_weights) != 4:
            raise ValueError(f"MODEL.SSD.BBOX_REG_WEIGHTS is {list(box_weights)}, not four numbers")
        if not smooth_l1_beta >= 0:
            raise ValueError(f"MODEL.SSD.SMOOTH_L1_LOSS_BETA is {smooth_l1_beta}, not 0 or more")
        if topk_candidates < 1:
            raise ValueError("MODEL.SSD.TOPK_CANDIDATES_TEST must be 1 or more")
        self.backbone = backbone
        self.head = head
        self.matcher = SSDMatcher(iou_thresholds)
        self.box2box_transform = Box2BoxTransform(weights=tuple(box_weights))
        self.neg_pos_ratio = neg_pos_ratio
        self.smooth_l1_beta = smooth_l1_beta
        self.loss_weights = {"loss_cls": cls_loss_weight, "loss_box_reg": box_reg_loss_weight}
        self.selection = {
            "score_thresh": score_thresh,
            "num_candidates": topk_candidates,
            "nms_thresh": nms_thresh,
            "num_kept": max_detections_per_image,
        }
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        cfg = with_num_classes(cfg)
        ssd = cfg.MODEL.SSD
        with own_seed("backbone"):
            backbone = build_backbone(cfg)
        with own_seed("head"):
            head = build_ssd_head(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "head": head,
            "iou_thresholds": ssd.IOU_THRESHOLDS,
            "box_weights": ssd.BBOX_REG_WEIGHTS,
            "neg_pos_ratio": ssd.NEG_POS_RATIO,
            "smooth_l1_beta": ssd.SMOOTH_L1_LOSS_BETA,
            "cls_loss_weight": ssd.CLS_LOSS_WEIGHT,
            "box_reg_loss_weight": ssd.BOX_REG_LOSS_WEIGHT,
            "score_thresh": ssd.SCORE_THRESH_TEST,
            "topk_candidates": ssd.TOPK_CANDIDATES_TEST,
            "nms_thresh": ssd.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return the weighted losses in training, else each image's ``instances``."""
        images = self.preprocess_image(batched_inputs)
        logits, deltas, boxes = self.predict(images.tensor)
        if self.training:
            truths = pad_truths(batched_inputs, self.head.num_classes, self.device)
            return self.losses(logits, deltas, boxes, truths, images.image_sizes)
        return self.inference(logits, deltas, boxes, images.image_sizes, batched_inputs)

    def preprocess_image(self, batched_inputs: Sequence[Mapping[str, Any]]) -> ImageList:
        """Return normalised images, padded to one size that the backbone takes."""
        images = [item["image"].to(self.device, non_blocking=True) for item in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def predict(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits (N, A, C + 1), deltas (N, A, 4) and default boxes (A, 4)."""
        return self.head(self.backbone(images), tuple(images.shape[-2:]))

    def losses(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        truths: Truths,
        image_sizes: Sequence[tuple[int, int]],
    ) -> dict[str, torch.Tensor]:
        """Return SSD's objective (SSD, equation 1): both sums over the number of positives.

        Default boxes of the padding, beyond ``image_sizes``, learn nothing.
        """
        logits, deltas = logits.float(), deltas.float()
        logits = logits.masked_fill(truths.ignored[:, None], -torch.inf)
        positive, negative, match = self.matcher(pairwise_iou(truths.boxes, boxes), truths.present)
        positive = positive & truths.known[:, None]
        negative = negative & truths.known[:, None] & centres_inside(boxes, image_sizes)
        classes = torch.where(positive, truths.classes.gather(1, match), logits.shape[-1] - 1)
        # Padding has no area; it is no target.
        gt_boxes = torch.where(truths.present[..., None], truths.boxes, boxes[0])
        targets = matched_deltas(boxes, gt_boxes, match, self.box2box_transform.weights)
        num_positives = mean_over_processes(positive.sum())
        sums = {
            "loss_cls": hard_negative_loss(
                logits, classes, positive, negative, neg_pos_ratio=self.neg_pos_ratio
            ),
            "loss_box_reg": box_loss(deltas, targets, positive, beta=self.smooth_l1_beta),
        }
        return {name: self.loss_weights[name] * s / num_positives for name, s in sums.items()}

    def inference(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        image_sizes: Sequence[tuple[int, int]],
        batched_inputs: Sequence[Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """Return the detections of each image at its output size."""
        scores, decoded = self.decode(logits, deltas, boxes)
        # Default boxes of the padding have learnt nothing.
        scores = scores * centres_inside(boxes, image_sizes)[..., None]
        found = detect(scores, decoded, image_sizes=image_sizes, **self.selection)
        return [
            {
                "instances": detector_postprocess(
                    instances, item.get("height", size[0]), item.get("width", size[1])
                )
            }
            for instances, item, size in zip(found, batched_inputs, image_sizes, strict=True)
        ]

    def decode(
        self, logits: torch.Tensor, deltas: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores (N, A, C) and boxes (N, A, 4)."""
        scores = logits.float().softmax(dim=-1)[..., :-1]
        shape = deltas.shape
        decoded = self.box2box_transform.apply_deltas(
            deltas.float().flatten(0, 1), boxes.expand(shape).flatten(0, 1)
        )
        return scores, decoded.view(shape)


def centres_inside(boxes: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Return which default boxes (A, 4) have their centres in which image, bool (N, A)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # A plain copy from the host would wait for the device.
    limits = torch.tensor([(width, height) for height, width in image_sizes])
    return (centres < limits.to(boxes.device, non_blocking=True)[:, None]).all(dim=2)


def pad_truths(
    batched_inputs: Sequence[Mapping[str, Any]], num_classes: int, device: torch.device
) -> Truths:
    """Return the ground truths of a batch; padding is 0 and false, and each image has a row."""
    instances = [item["instances"] for item in batched_inputs if "instances" in item]
    known = torch.tensor(["instances" in item for item in batched_inputs])
    counts = torch.tensor([len(item.get("instances", ())) for item in batched_inputs])
    present = torch.arange(max(int(counts.max()), 1)) < counts[:, None]
    boxes = torch.zeros(*present.shape, 4)
    boxes[present] = torch.cat([boxes[:0, 0], *(found.gt_boxes.tensor for found in instances)])
    classes = torch.zeros(present.shape, dtype=torch.int64)
    classes[present] = torch.cat([classes[:0, 0], *(found.gt_classes for found in instances)])
    if present.any() and classes.max() >= num_classes:
        raise ValueError(
            f"batch item's `instances` hold class {int(classes.max())}, but MODEL.SSD.NUM_CLASSES "
            f"is {num_classes}"
        )
    if not (boxes[..., 2:] > boxes[..., :2])[present].all():
        raise ValueError("batch item's `instances` hold a box without area; leave it out")
    tables = (boxes, classes, present, known)
    ignored = ignored_classes(batched_inputs, num_classes + 1, device)
    return Truths(*(table.to(device, non_blocking=True) for table in tables), ignored)
