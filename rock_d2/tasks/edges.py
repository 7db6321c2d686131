"""Edges: whether a pixel lies on the outline of an object."""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data.transforms import ResizeTransform
from fvcore.transforms.transform import ScaleTransform

from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.binary_maps import BinaryMapTask
from rock_d2.tasks.class_maps import UNKNOWN
from rock_d2.tasks.geometry import resize_lines
from rock_d2.tasks.meters import Meter


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Edges(BinaryMapTask):
    """Edge detection by a weighted cross-entropy (MTI-Net, sec. 4.1).

    Attributes:
        edge_weight: w, of pixels on an edge; 1 - w is that of the many others.
    """

    name = "edges"
    field = "edges_file_name"

    loss_weight: float = 50.0
    edge_weight: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.edge_weight < 1:
            raise ValueError(
                f"MODEL.TASKS.EDGES.EDGE_WEIGHT is {self.edge_weight}; it must be between 0 and 1"
            )

    @classmethod
    def register_transforms(cls) -> None:
        super().register_transforms()
        for transform in (ResizeTransform, ScaleTransform):
            transform.register_type(cls.name, resize_lines)

    def positive_weight(self, share: torch.Tensor, known: torch.Tensor) -> float:
        return self.edge_weight

    def meter(self) -> Meter:
        return EdgesMeter(self.edge_weight)


class EdgesMeter(Meter):
    """The loss, pooled over the known pixels of all images."""

    def __init__(self, edge_weight: float):
        self.edge_weight = edge_weight

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        known = label != UNKNOWN
        is_edge, found = label[known] == 1, prediction[0][known].astype(np.float64)
        # Probabilities are float32, and may be 0 or 1.
        right = np.where(is_edge, found, 1 - found).clip(np.finfo(np.float32).tiny)
        weight = np.where(is_edge, self.edge_weight, 1 - self.edge_weight)
        return np.array([known.sum(), -(weight * np.log(right)).sum()], np.float64)

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        pixels, loss = total
        return {"bce": loss / pixels}
