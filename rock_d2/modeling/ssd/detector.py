"""SSD on a backbone and a neck (ROCK, figure 1).

N images, A default boxes, C classes of objects (class C is the background), M ground truths of
the fullest image, padded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from torch import nn

from rock_d2.modeling.ssd.postprocessing import detect
from rock_d2.modeling.ssd.matcher import SSDMatcher, pairwise_iou
from rock_d2.modeling.necks.neck import build_neck
from rock_d2.layers.normalizers import mean_over_processes
from rock_d2.layers.init import own_seed
from rock_d2.modeling.ssd.head import build_ssd_head
from rock_d2.modeling.ssd.losses import box_loss, focal_loss, hard_negative_loss, matched_deltas
from rock_d2.transfer import to_device

# Ground truths are padded to a multiple of this, so that few shapes occur in a training. Matching
# takes time in proportion to the padded number; a CUDA graph is captured for each shape.
TRUTH_STEP = 4


class TrainingBatch(NamedTuple):
    """What the losses of a batch are computed from: tensors on the model's device.

    Attributes:
        images: uint8 (N, 3, H, W).
        boxes: of the ground truths, (N, M, 4).
        classes: of the same, int64 (N, M).
        present: bool (N, M), false where a row is padding.
        labels: of each auxiliary task by its name.
    """

    images: torch.Tensor
    boxes: torch.Tensor
    classes: torch.Tensor
    present: torch.Tensor
    labels: Mapping[str, torch.Tensor]


@META_ARCH_REGISTRY.register()
class SSD(nn.Module):
    """Single-shot detector whose neck may learn auxiliary tasks."""

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module,
        head: nn.Module,
        matcher: SSDMatcher,
        box_weights: tuple[float, float, float, float],
        cls_loss: Callable[..., torch.Tensor],
        smooth_l1_beta: float,
        loss_weights: Mapping[str, float],
        detector: Callable[..., list[Instances]],
        input_size: tuple[int, int],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        """
        Args:
            backbone, neck, head: the three parts of the network.
            matcher: decides which default box learns which ground truth.
            box_weights: factors of the coded boxes' four numbers.
            cls_loss: of logits (N, A, C + 1), classes (N, A), and which boxes are positive and
                negative, bool (N, A); the sum.
            smooth_l1_beta: where the box loss turns from quadratic to linear.
            loss_weights: of ``loss_cls`` and ``loss_box_reg``.
            detector: from scores (N, A, C) and boxes (N, A, 4) to each image's objects.
            input_size: height and width of every image.
            pixel_mean, pixel_std: of each channel, in the images' order.
        """
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.matcher = matcher
        self.box2box_transform = Box2BoxTransform(weights=tuple(box_weights))
        self.cls_loss = cls_loss
        self.smooth_l1_beta = smooth_l1_beta
        self.loss_weights = dict(loss_weights)
        self.detector = detector
        self.input_size = tuple(input_size)
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        ssd = cfg.MODEL.SSD
        with own_seed("backbone"):
            backbone = build_backbone(cfg)
        with own_seed("neck"):
            neck = build_neck(cfg, backbone.output_shape())
        with own_seed("head"):
            head = build_ssd_head(cfg, neck.output_shape())
        low, high = ssd.IOU_THRESHOLDS
        return {
            "backbone": backbone,
            "neck": neck,
            "head": head,
            "matcher": SSDMatcher(low=low, high=high),
            "box_weights": ssd.BBOX_REG_WEIGHTS,
            "cls_loss": _build_cls_loss(ssd),
            "smooth_l1_beta": ssd.SMOOTH_L1_LOSS_BETA,
            "loss_weights": {
                "loss_cls": ssd.CLS_LOSS_WEIGHT,
                "loss_box_reg": ssd.BOX_REG_LOSS_WEIGHT,
            },
            "detector": partial(
                detect,
                score_thresh=ssd.SCORE_THRESH_TEST,
                num_candidates=ssd.TOPK_CANDIDATES_TEST,
                nms_thresh=ssd.NMS_THRESH_TEST,
                num_kept=cfg.TEST.DETECTIONS_PER_IMAGE,
            ),
            "input_size": cfg.INPUT.SIZE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """In training the weighted losses; else each image's ``instances`` and auxiliary tasks.

        Args:
            batched_inputs: items of RockDatasetMapper.
        """
        if self.training:
            return self.compute_losses(self.collate(batched_inputs))
        logits, deltas, boxes, aux = self.predict(self.stack_images(batched_inputs))
        return self.inference(logits, deltas, boxes, aux, batched_inputs)

    def collate(self, batched_inputs: Sequence[Mapping[str, Any]]) -> TrainingBatch:
        """All that the host does for a step; what follows needs nothing from it."""
        return TrainingBatch(
            self.stack_images(batched_inputs),
            *pad_truths(batched_inputs, self.head.num_classes, self.device),
            labels=self.neck.collate(batched_inputs, self.device),
        )

    def compute_losses(self, batch: TrainingBatch) -> dict[str, torch.Tensor]:
        """The weighted losses of the detector and of each task."""
        logits, deltas, boxes, aux = self.predict(batch.images)
        truths = (batch.boxes, batch.classes, batch.present)
        losses = self.losses(logits, deltas, boxes, *truths)
        return merge_losses(losses, self.neck.losses(aux, batch.labels))

    def predict(
        self, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """What the head returns, and the neck's predictions of the tasks (figure 1)."""
        features, aux = self.neck(self.backbone(self.normalize(images)))
        return *self.head(features), aux

    def stack_images(self, batched_inputs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """uint8 (N, 3, H, W)."""
        images = [item["image"] for item in batched_inputs]
        for image in images:
            shape = (len(self.pixel_mean), *self.input_size)
            if tuple(image.shape) != shape or image.dtype != torch.uint8:
                raise ValueError(
                    f"batch item `image` is {image.dtype} {tuple(image.shape)}; INPUT.SIZE wants "
                    f"torch.uint8 {shape}"
                )
        return torch.stack([image.to(self.device, non_blocking=True) for image in images])

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.pixel_mean) / self.pixel_std

    def losses(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        gt_boxes: torch.Tensor,
        gt_classes: torch.Tensor,
        present: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """SSD's objective (SSD, equation 1): both sums over the number of positives.

        Args:
            logits, deltas, boxes: of the head.
            gt_boxes: (N, M, 4).
            gt_classes: int64 (N, M).
            present: bool (N, M), false where a row is padding.
        """
        logits, deltas = logits.float(), deltas.float()
        positive, negative, truth = self.matcher(pairwise_iou(gt_boxes, boxes), present)
        classes = torch.where(positive, gt_classes.gather(1, truth), logits.shape[-1] - 1)
        # Padding has no area; what it says is not learned.
        gt_boxes = torch.where(present[..., None], gt_boxes, boxes[0])
        targets = matched_deltas(boxes, gt_boxes, truth, self.box2box_transform.weights)
        num_positives = mean_over_processes(positive.sum())
        sums = {
            "loss_cls": self.cls_loss(logits, classes, positive, negative),
            "loss_box_reg": box_loss(deltas, targets, positive, beta=self.smooth_l1_beta),
        }
        return {name: self.loss_weights[name] * s / num_positives for name, s in sums.items()}

    def inference(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        aux: Mapping[str, torch.Tensor],
        batched_inputs: Sequence[Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """Detections and auxiliary predictions at each image's output size."""
        detections = self.detector(*self.decode(logits, deltas, boxes), image_size=self.input_size)
        height, width = self.input_size
        sizes = [(i.get("height", height), i.get("width", width)) for i in batched_inputs]
        tasks = self.neck.inference(aux, sizes)
        return [
            {"instances": detector_postprocess(found, *size), **task}
            for found, size, task in zip(detections, sizes, tasks, strict=True)
        ]

    def decode(
        self, logits: torch.Tensor, deltas: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (N, A, C) and boxes (N, A, 4) of what the head returns."""
        scores = logits.float().softmax(dim=-1)[..., :-1]
        shape = deltas.shape
        decoded = self.box2box_transform.apply_deltas(
            deltas.float().flatten(0, 1), boxes.expand(shape).flatten(0, 1)
        )
        return scores, decoded.view(shape)


def _build_cls_loss(ssd: CfgNode) -> Callable[..., torch.Tensor]:
    losses = {
        "HardNegativeMining": partial(hard_negative_loss, neg_pos_ratio=ssd.NEG_POS_RATIO),
        "Focal": partial(focal_loss, gamma=ssd.FOCAL_GAMMA, alpha=ssd.FOCAL_ALPHA),
    }
    if ssd.CLS_LOSS not in losses:
        raise ValueError(f"MODEL.SSD.CLS_LOSS: {ssd.CLS_LOSS!r} is none of {', '.join(losses)}")
    return losses[ssd.CLS_LOSS]


def pad_truths(
    batched_inputs: Sequence[Mapping[str, Any]], num_classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (N, M, 4), classes (N, M) and bool (N, M) of the objects; padding is 0 and false."""
    missing = [i for i, item in enumerate(batched_inputs) if "instances" not in item]
    if missing:
        raise ValueError(f"batch item(s) {missing} lack `instances`; training needs them")
    instances = [item["instances"] for item in batched_inputs]
    counts = torch.tensor([len(objects) for objects in instances])
    size = max(-(-int(counts.max()) // TRUTH_STEP), 1) * TRUTH_STEP
    present = torch.arange(size) < counts[:, None]
    boxes = torch.zeros(len(instances), size, 4)
    boxes[present] = torch.cat([objects.gt_boxes.tensor for objects in instances])
    classes = torch.zeros(len(instances), size, dtype=torch.int64)
    classes[present] = torch.cat([objects.gt_classes for objects in instances])
    if classes.max() >= num_classes:
        raise ValueError(
            f"batch item's `instances` hold class {int(classes.max())}, but MODEL.SSD.NUM_CLASSES "
            f"is {num_classes}"
        )
    if not (boxes[..., 2:] > boxes[..., :2])[present].all():
        raise ValueError("batch item's `instances` hold a box without area; leave it out")
    return tuple(to_device(table, device) for table in (boxes, classes, present))


def merge_losses(*parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    merged = {}
    for part in parts:
        twice = merged.keys() & part.keys()
        if twice:
            raise ValueError(f"two parts of the model return {sorted(twice)}")
        merged |= part
    return merged
