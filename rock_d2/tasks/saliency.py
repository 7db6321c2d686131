"""Saliency: whether a pixel belongs to what one looks at first."""

from dataclasses import dataclass

import numpy as np
import torch

from rock_d2.layers import share_over_processes
from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.binary_maps import BinaryMapTask
from rock_d2.tasks.class_maps import UNKNOWN
from rock_d2.tasks.meters import Meter


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Saliency(BinaryMapTask):
    """Saliency estimation by a balanced cross-entropy (MTI-Net, sec. 4.1).

    Salient pixels have as weight the share of the others in the batch.
    """

    name = "saliency"
    field = "saliency_file_name"

    loss_weight: float = 5.0

    def positive_weight(self, share: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        return share_over_processes(((1 - share) * known).sum(), known.sum())

    def meter(self) -> Meter:
        return SaliencyMeter()


class SaliencyMeter(Meter):
    """IoU and F-measure at the best of 15 thresholds.

    IoU, precision and recall are means over images, as in the toolboxes of multi-task papers.
    """

    THRESHOLDS = np.linspace(0.2, 0.9, 15)
    TINY = 1e-12

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return 1 for an image, and its IoU, precision and recall at each threshold."""
        known = label != UNKNOWN
        if not known.any():
            return np.zeros(1 + 3 * len(self.THRESHOLDS))
        true = label[known] == 1
        found = prediction[0][known] > self.THRESHOLDS[:, None].astype(np.float32)
        hits, union = (found & true).sum(axis=1), (found | true).sum(axis=1)
        iou = np.where(union > 0, hits / np.maximum(union, 1), 1)
        precision = hits / (found.sum(axis=1) + self.TINY)
        recall = hits / (true.sum() + self.TINY)
        return np.concatenate([[1], iou, precision, recall])

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        iou, precision, recall = (total[1:] / total[0]).reshape(3, -1)
        f = 2 * precision * recall / (precision + recall + self.TINY)
        return {"miou": iou.max(), "max_f": f.max()}
