"""A task of one's own in one file: the outlines of objects, learnt beside any detector.

The labels are PNGs of one uint8 channel, 0 off and 1 on an outline, 255 unknown, that dataset dicts
name by ``outlines_file_name``. Images may lack them. A training with it:

    python tools/train_net.py --import examples/outlines_task.py \
        --config-file configs/detectors/retinanet_rock_nyuv2.yaml \
        MODEL.TASKS.AUXILIARY '["Depth", "Outlines"]'
"""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.layers import known_mean, resize
from rock_d2.tasks import TASK_REGISTRY, Drawing, MapTask, Meter

UNKNOWN = 255


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Outlines(MapTask):
    """Edge detection by a weighted cross-entropy (Xie and Tu, ICCV 2015, eq. 2).

    Attributes:
        line_weight: of the pixels on an edge; 1 - line_weight is that of the many others.
    """

    name = "outlines"
    field = "outlines_file_name"
    num_outputs = 1
    unit = "probability"
    unknown_level = UNKNOWN
    unknown_value = float(UNKNOWN)

    loss_weight: float = 10.0
    line_weight: float = 0.95

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over known pixels; at a smaller size the targets are shares of edges."""
        share, known = self.target_maps(target, prediction.shape[-2:])
        ratio = torch.tensor(self.line_weight / (1 - self.line_weight), device=target.device)
        loss = (1 - self.line_weight) * F.binary_cross_entropy_with_logits(
            prediction.float(), share, pos_weight=ratio, reduction="none"
        )
        return known_mean(loss, known)

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return the probability of an edge, fp32 (1, H, W)."""
        return resize(prediction[None], output_size)[0].sigmoid()

    def meter(self) -> Meter:
        return OutlinesMeter()

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw edges in white and the unknown in grey."""
        grey = np.where(values == UNKNOWN, 0.5, values)
        return Drawing("outlines", np.uint8(255 * grey)[..., None].repeat(3, axis=2))


class OutlinesMeter(Meter):
    """Precision, recall and their harmonic mean over the known pixels of all images."""

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        known = label != UNKNOWN
        found, true = prediction[0][known] > 0.5, label[known] > 0
        return np.array([known.sum(), (found & true).sum(), found.sum(), true.sum()], np.float64)

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        _, hits, found, true = total
        precision, recall = hits / max(found, 1), hits / max(true, 1)
        return {"precision": precision, "recall": recall, "f1": 2 * hits / max(found + true, 1)}
