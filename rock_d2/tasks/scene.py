"""Scene class: one label for the whole image."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from fvcore.transforms.transform import Transform
from torch import nn
from torch.nn import functional as F

from rock_d2.evaluation.task_evaluator import Meter
from rock_d2.layers.pooling import GlobalAverage
from rock_d2.layers.normalizers import mean_over_processes
from rock_d2.tasks.base import TASK_REGISTRY, Task, ColourScale, Drawing, rgb_colours
from rock_d2.transfer import to_device

UNKNOWN = -1


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Scene(Task):
    """Scene classification by cross-entropy (sec. 3.1).

    Attributes:
        num_classes: S, also the encoding's width.
    """

    name = "scene"
    field = "scene_id"

    loss_weight: float = 3.0
    num_classes: int = 27

    @property
    def channels(self) -> int:
        return self.num_classes

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    def check_metadata(self, metadata: Metadata) -> None:
        found = len(metadata.get("scene_classes", ()))
        if found not in (0, self.num_classes):
            raise ValueError(
                f"MODEL.ROCK.SCENE.NUM_CLASSES is {self.num_classes}, but data set "
                f"`{metadata.name}` has {found} scene_classes"
            )

    def load(self, record: Mapping[str, Any]) -> int | None:
        return self.read(record)

    def read(self, record: Mapping[str, Any]) -> int | None:
        if record.get(self.field) is None:
            return None
        problem = self._problem(record[self.field], self.num_classes)
        if problem:
            raise ValueError(f"{record.get('file_name')}: {problem}")
        return record[self.field]

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        count = len(metadata.get("scene_classes", ())) or self.num_classes
        problem = self._problem(record[self.field], count)
        return ([problem], 0.0) if problem else ([], 1.0)

    def _problem(self, label: Any, count: int) -> str:
        if type(label) is int and 0 <= label < count:
            return ""
        shown = reprlib.repr(label)
        return f"`{self.field}` is {shown}; it must be an int from 0 to {count - 1}"

    def to_tensor(self, label: int) -> int:
        return label

    def collate(
        self, batched_inputs: Sequence[Mapping[str, Any]], device: torch.device
    ) -> torch.Tensor:
        """int64 (N,)."""
        labels = [item.get(self.name, UNKNOWN) for item in batched_inputs]
        for label in labels:
            if not (isinstance(label, int) and UNKNOWN <= label < self.num_classes):
                raise ValueError(
                    f"batch item `{self.name}` is {label!r}; it must be an int below "
                    f"MODEL.ROCK.SCENE.NUM_CLASSES = {self.num_classes}"
                )
        return to_device(torch.tensor(labels), device)

    def predictor(self) -> nn.Module:
        return GlobalAverage()

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = F.cross_entropy(prediction.float(), target, ignore_index=UNKNOWN, reduction="sum")
        return total / mean_over_processes((target != UNKNOWN).sum())

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """The probability of each class, fp32 (S,)."""
        return prediction.float().softmax(dim=0)

    def meter(self) -> Meter:
        return SceneMeter(self.num_classes)

    def draw(self, label: int, metadata: Metadata) -> Drawing:
        return Drawing(f"scene: {class_name(label, metadata)}", None)

    def draw_prediction(
        self,
        prediction: np.ndarray,
        metadata: Metadata,
        *,
        encoding: np.ndarray | None = None,
        label: int | None = None,
    ) -> Drawing:
        """The likeliest class, and the map of the true or else that class before the pooling.

        The map is figure 3 (d); its mean over the image is the class's score.
        """
        best = int(prediction.argmax())
        caption = f"scene: {class_name(best, metadata)} {prediction[best]:.0%}"
        if encoding is None:
            return Drawing(caption, None)
        shown = best if label is None else label
        if shown != best:
            caption += f", map: {class_name(shown, metadata)} {prediction[shown]:.0%}"
        return Drawing(caption, *heat_map(encoding[shown]))

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
    """The name of a class, or its number where the data set does not name any."""
    names = metadata.get("scene_classes", ())
    return names[label] if len(names) else f"class {label}"


def heat_map(evidence: np.ndarray) -> tuple[np.ndarray, ColourScale]:
    """A smooth picture of a coarse map (h, w), from black, its least, to bright, its largest."""
    low, high = float(evidence.min()), float(evidence.max())
    share = (evidence.astype(np.float32) - low) / max(high - low, 1e-6)
    # Cells are made smooth before they get colours: colours in between would mean nothing.
    share = cv2.resize(share, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR)
    spectrum = rgb_colours(cv2.COLORMAP_INFERNO)
    scale = ColourScale(f"{low:.1f}", f"{high:.1f}", spectrum)
    return spectrum[np.uint8(255 * share)], scale


# A kitchen stays a kitchen, whatever is done to its picture.
Transform.register_type(Scene.name, lambda transform, label: label)
