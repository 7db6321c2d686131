"""Tasks whose label says yes (1) or no (0) at each pixel, 255 where unknown."""

from abc import abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.layers import known_mean, resize
from rock_d2.tasks.base import ColourScale, Drawing, rgb_colours
from rock_d2.tasks.class_maps import UNKNOWN, ClassMapTask
from rock_d2.tasks.maps import MapTask

HEAT = ColourScale("0", "1", rgb_colours(cv2.COLORMAP_INFERNO))
GREY = 128


@dataclass(frozen=True)
class BinaryMapTask(ClassMapTask):
    """Binary classification of each pixel by a cross-entropy that weights both classes.

    The network has one map of logits. Where predictions are smaller than labels, the target of a
    cell is the share of its known pixels that say yes, and so the loss is that of the prediction
    enlarged to the label.
    """

    unit = "probability"
    num_classes = 2
    num_outputs = 1
    channels = MapTask.channels

    @abstractmethod
    def positive_weight(self, share: torch.Tensor, known: torch.Tensor) -> float | torch.Tensor:
        """Return the weight, from 0 to 1, of yes; that of no is the rest."""

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        share, known = MapTask.target_maps(self, target, size)
        return torch.logit(share, eps=1e-7), known

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        share, known = MapTask.target_maps(self, target, prediction.shape[-2:])
        weight, logits = self.positive_weight(share, known), prediction.float()
        loss = weight * share * F.softplus(-logits) + (1 - weight) * (1 - share) * F.softplus(
            logits
        )
        return known_mean(loss, known)

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return the probability of yes, fp32 (1, H, W)."""
        return resize(prediction[None], output_size)[0].sigmoid()

    def quantised(self, prediction: np.ndarray) -> np.ndarray:
        return np.floor(255 * prediction) / np.float32(255)

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw the probability of yes as heat, unknown grey."""
        heat = HEAT.colours[np.uint8(255 * values.clip(0, 1))]
        return Drawing(self.name, np.where(values[..., None] == UNKNOWN, GREY, heat), HEAT)
