"""Scene class: one label for the whole image."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.layers import global_average, mean_over_processes
from rock_d2.tasks.base import TASK_REGISTRY, Drawing, Task
from rock_d2.tasks.data_classes import ClassesFromData
from rock_d2.tasks.meters import Meter

UNKNOWN = -1


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Scene(ClassesFromData, Task):
    """Scene classification by cross-entropy (sec. 3.1).

    Attributes:
        num_classes: S, also the encoding's width; 0: as many as the data set has.
    """

    name = "scene"
    field = "scene_id"
    class_list = "scene_classes"
    unit = "probability of each class"

    loss_weight: float = 3.0
    num_classes: int = 27

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    def load(self, record: Mapping[str, Any]) -> int | None:
        label = record.get(self.field)
        if label is not None and not (type(label) is int and 0 <= label < self.num_classes):
            raise ValueError(
                f"{record.get('file_name')}: `{self.field}` is {reprlib.repr(label)}; it must be "
                f"an int from 0 to {self.num_classes - 1}"
            )
        return label

    def collate(
        self,
        batched_inputs: Sequence[Mapping[str, Any]],
        *,
        size: tuple[int, int],
        device: torch.device,
    ) -> torch.Tensor:
        """Return int64 (N,)."""
        labels = torch.tensor([item.get(self.name, UNKNOWN) for item in batched_inputs])
        return labels.to(device, non_blocking=True)

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return 1 for the true class and 0 for the others, everywhere."""
        one_hot = F.one_hot(target.clamp(min=0), self.num_classes).float()[:, :, None, None]
        return one_hot.expand(-1, -1, *size), (target != UNKNOWN)[:, None, None, None]

    def activation(self, maps: torch.Tensor) -> torch.Tensor:
        return global_average(maps)

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = F.cross_entropy(prediction.float(), target, ignore_index=UNKNOWN, reduction="sum")
        return total / mean_over_processes((target != UNKNOWN).sum())

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return the probability of each class, fp32 (S,)."""
        return prediction.float().softmax(dim=0)

    def meter(self) -> Meter:
        return SceneMeter(self.num_classes)

    def draw(
        self, values: np.ndarray | int, metadata: Metadata, *, reference: int | None = None
    ) -> Drawing:
        """Name the class of a label, or the likeliest of a prediction's probabilities (S,)."""
        if isinstance(values, int):
            return Drawing(f"scene: {class_name(values, metadata)}", None)
        best = int(values.argmax())
        return Drawing(f"scene: {class_name(best, metadata)} {values[best]:.0%}", None)

    def ranking(self, prediction: np.ndarray, metadata: Metadata, count: int) -> dict[str, float]:
        best = prediction.argsort()[::-1][:count]
        return {class_name(i, metadata): float(prediction[i]) for i in best}


class SceneMeter(Meter):
    """Accuracy over images, and its mean over the classes that occur."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def count(self, prediction: np.ndarray, label: int) -> np.ndarray:
        """One entry of the confusion matrix (true, predicted)."""
        confusion = np.zeros((self.num_classes, self.num_classes))
        confusion[label, prediction.argmax()] = 1
        return confusion.ravel()

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        confusion = total.reshape(self.num_classes, self.num_classes)
        correct, images = np.diag(confusion), confusion.sum(axis=1)
        occurs = images > 0
        return {
            "acc": correct.sum() / images.sum(),
            "balanced_acc": (correct[occurs] / images[occurs]).mean(),
        }


def class_name(label: int, metadata: Metadata) -> str:
    """Return the name of a class, or its number where the data set does not name any."""
    names = metadata.get("scene_classes", ())
    return names[label] if len(names) else f"class {label}"
