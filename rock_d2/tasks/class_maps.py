"""Tasks whose label has the index of a class at each pixel, 255 where unknown.

N images, K classes, H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import Visualizer
from torch.nn import functional as F

from rock_d2.layers import mean_over_processes, resize
from rock_d2.tasks.base import Drawing
from rock_d2.tasks.geometry import LabelMap
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter

UNKNOWN = 255
# RGB, by class; again from the first where there are more classes.
COLOURS = colormap(rgb=True).astype(int).tolist()
# A drawing's caption names this many of the classes, the largest.
NAMED = 3


@dataclass(frozen=True)
class ClassMapTask(MapTask):
    """Classification of each pixel by cross-entropy, the mean over all known pixels of a batch.

    The network's maps are logits.

    Attributes:
        num_classes: K.
    """

    unit = "probability of each class"
    unknown_level = UNKNOWN
    unknown_value = float(UNKNOWN)
    background_level = 0
    num_classes: ClassVar[int]

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    @property
    def channels(self) -> int:
        """One a class, as the paper's scenes have."""
        return self.num_outputs

    @property
    def label_channels(self) -> int:
        return 1

    def class_names(self, metadata: Metadata) -> Sequence[str]:
        return [f"class {i}" for i in range(self.num_classes)]

    def load(self, record: Mapping[str, Any]) -> LabelMap | None:
        label = super().load(record)
        for problem in () if label is None else self.pixel_problems(label.pixels):
            raise ValueError(f"{record[self.field]}: {problem}")
        return label

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        largest = pixels[pixels != UNKNOWN].max(initial=0)
        if largest >= self.num_classes:
            yield (
                f"named by `{self.field}`, holds class {largest}; it must be below "
                f"{self.num_classes}, the number of classes, or {UNKNOWN} where unknown"
            )

    def as_values(self, prediction: np.ndarray) -> np.ndarray:
        """Return float32 (H, W), the class at each pixel of a prediction or of a label."""
        if len(prediction) == 1:
            return prediction[0]
        return prediction.argmax(axis=0).astype(np.float32)

    def classes_at(self, target: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return int64 (N, h, w): of each cell the class of the pixel in its middle."""
        return F.interpolate(target, size=size, mode="nearest-exact")[:, 0].long()

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return 1 for the true class and 0 for the others."""
        classes = self.classes_at(target, size)[:, None]
        every = torch.arange(self.num_classes, device=target.device)[:, None, None]
        return (classes == every).float(), classes != UNKNOWN

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        classes = self.classes_at(target, prediction.shape[-2:])
        losses = F.cross_entropy(
            # A sum would be another kernel, which deterministic algorithms refuse on GPUs.
            prediction.float(),
            classes,
            ignore_index=UNKNOWN,
            reduction="none",
        )
        return losses.sum() / mean_over_processes((classes != UNKNOWN).sum())

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return the probability of each class, fp32 (K, H, W)."""
        return resize(prediction[None], output_size)[0].softmax(dim=0)

    def meter(self) -> Meter:
        return ClassMapMeter(self.num_classes)

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw each class in a colour of its own, with its name; unknown black."""
        classes = values.astype(int)
        sizes = np.bincount(classes[classes != UNKNOWN], minlength=1)
        names = [*self.class_names(metadata)]
        names += [f"class {i}" for i in range(len(names), len(sizes))]
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
        largest = [i for i in sizes.argsort()[::-1][:NAMED] if sizes[i]]
        shares = [f"{names[i]} {sizes[i] / classes.size:.0%}" for i in largest]
        canvas = Visualizer(
            np.zeros((*classes.shape, 3), np.uint8),
            Metadata(stuff_classes=names, stuff_colors=colours),
        )
        drawn = canvas.draw_sem_seg(classes, alpha=1).get_image()
        return Drawing(f"{self.name}: {', '.join(shares) or 'unknown'}", drawn)


class ClassMapMeter(Meter):
    """IoU and accuracy of the classes that occur, pooled over the known pixels of all images."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return the confusion matrix (true, predicted), flat."""
        known = label != UNKNOWN
        found, true = prediction.argmax(axis=0)[known], label[known].astype(np.int64)
        cells = np.bincount(true * self.num_classes + found, minlength=self.num_classes**2)
        return cells.astype(np.float64)

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        confusion = total.reshape(self.num_classes, self.num_classes)
        correct, true, found = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        occurs = true > 0
        return {
            "miou": (correct[occurs] / (true + found - correct)[occurs]).mean(),
            "pixel_acc": correct.sum() / true.sum(),
            "mean_acc": (correct[occurs] / true[occurs]).mean(),
        }
