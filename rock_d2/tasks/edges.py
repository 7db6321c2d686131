"""Edges: whether a pixel lies on the outline of an object."""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data.transforms import ResizeTransform, RotationTransform
from fvcore.transforms.transform import ScaleTransform

from rock_d2.registry import check_choice
from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.binary_maps import BinaryMapTask
from rock_d2.tasks.class_maps import UNKNOWN
from rock_d2.tasks.edge_matching import (
    average_precision,
    edge_counts,
    f_measure,
    maximum_matching,
    non_maxima_suppressed,
    outlier_matching,
)
from rock_d2.tasks.geometry import resize_lines, rotate_lines
from rock_d2.tasks.meters import Meter
from rock_d2.tasks.thinning import boundaries, thin

# MTI-Net's list, and that of HED, ASTMT and InvPT.
HUNDREDTHS = np.arange(1, 100) / 100
THRESHOLDS = {99: HUNDREDTHS, 101: np.array([0.001, *HUNDREDTHS, 0.999])}
MATCHINGS = {"maximum": maximum_matching, "outliers": outlier_matching}


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Edges(BinaryMapTask):
    """Edge detection by a weighted cross-entropy (MTI-Net, sec. 4.1).

    Attributes:
        edge_weight: w, of pixels on an edge; 1 - w is that of the many others.
        nms: whether predictions are thinned by non-maximum suppression before they are measured
            (ASTMT, InvPT), or by morphology alone (MTI-Net).
        thresholds: 99 (0.01 to 0.99), or 101 with 0.001 and 0.999.
        max_dist: at which edges match, in units of the image's diagonal: 0.0075 for
            PASCAL-Context, 0.011 for NYUv2.
        matching: "maximum", or "outliers" for what BSDS's code finds of it.
        boundary_truth: whether the truth is the boundary of the label's lines (InvPT for NYUv2).
        eval_images: of a test set that are measured, evenly spread; 0: all.
        processes: that measure images; 0: one a core.
    """

    name = "edges"
    field = "edges_file_name"

    loss_weight: float = 50.0
    edge_weight: float = 0.95
    nms: bool = False
    thresholds: int = 99
    max_dist: float = 0.0075
    matching: str = "maximum"
    boundary_truth: bool = False
    eval_images: int = 0
    processes: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.edge_weight < 1:
            raise ValueError(
                f"MODEL.TASKS.EDGES.EDGE_WEIGHT is {self.edge_weight}; it must be between 0 and 1"
            )
        check_choice(self.thresholds, THRESHOLDS, setting="MODEL.TASKS.EDGES.THRESHOLDS")
        check_choice(self.matching, MATCHINGS, setting="MODEL.TASKS.EDGES.MATCHING")
        for key in ("max_dist", "eval_images", "processes"):
            if getattr(self, key) < 0:
                raise ValueError(
                    f"MODEL.TASKS.EDGES.{key.upper()} is {getattr(self, key)}; it must be 0 or more"
                )

    @classmethod
    def register_transforms(cls) -> None:
        super().register_transforms()
        for transform in (ResizeTransform, ScaleTransform):
            transform.register_type(cls.name, resize_lines)
        RotationTransform.register_type(cls.name, rotate_lines)

    def positive_weight(self, share: torch.Tensor, known: torch.Tensor) -> float:
        return self.edge_weight

    def meter(self) -> Meter:
        return EdgesMeter(self)


class EdgesMeter(Meter):
    """The loss, pooled over the known pixels of all images, and odsF, oisF and AP."""

    def __init__(self, task: Edges):
        self.task = task
        self.processes = task.processes

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return known pixels, their loss, the counts at the image's best threshold and at each."""
        known = label != UNKNOWN
        counts = self._matches(prediction[0], label) * known.any()
        best = counts[f_measure(counts).argmax()]
        is_edge, found = label[known] == 1, prediction[0][known].astype(np.float64)
        # Probabilities are float32, and may be 0 or 1.
        right = np.where(is_edge, found, 1 - found).clip(np.finfo(np.float32).tiny)
        weight = np.where(is_edge, self.task.edge_weight, 1 - self.task.edge_weight)
        loss = -(weight * np.log(right)).sum()
        return np.concatenate([[known.sum(), loss], best, counts.ravel()])

    def _matches(self, values: np.ndarray, label: np.ndarray) -> np.ndarray:
        if self.task.nms:
            values = non_maxima_suppressed(values)
        return edge_counts(
            np.where(label == UNKNOWN, 0, values),
            (boundaries if self.task.boundary_truth else thin)(label == 1),
            thresholds=THRESHOLDS[self.task.thresholds],
            is_found=np.greater if self.task.nms else np.greater_equal,
            max_distance=self.task.max_dist,
            matching=MATCHINGS[self.task.matching],
        )

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        (pixels, loss), best, counts = total[:2], total[2:5], total[5:].reshape(-1, 3)
        return {
            "odsF": f_measure(counts).max(),
            "oisF": f_measure(best),
            "AP": average_precision(counts),
            "bce": loss / pixels,
        }
