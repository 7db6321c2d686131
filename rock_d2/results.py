"""The predictions for an image, as a Predictor returns them: values, pictures and files."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import BoxMode, Instances

from rock_d2.files import atomic_file
from rock_d2.tasks import Task
from rock_d2.visualization import class_title, draw_output, write_picture

RANKED = 5


class Result(dict[str, Any]):
    """The model's predictions of an image by their names, at the image's own size, on the CPU.

    ``instances`` are the detections, from the highest score, boxes in pixels; each task's name has
    its prediction: a map (C, H, W), or a vector for the whole image, in the unit of ``units``.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        name: of the image's file, address or video; "" of an array.
        tasks: those that are predicted.
        metadata: names of the classes.
        score_threshold: the least score of the detections that a picture shows.
    """

    def __init__(
        self,
        output: Mapping[str, Any],
        *,
        image: np.ndarray,
        tasks: Sequence[Task],
        metadata: Metadata,
        name: str = "",
        score_threshold: float = 0.5,
    ):
        super().__init__(output)
        self.image, self.name, self.metadata = image, name, metadata
        self.tasks = [task for task in tasks if task.name in output]
        self.score_threshold = score_threshold

    @property
    def instances(self) -> Instances | None:
        """The detections; None of a model without a detector."""
        return self.get("instances")

    @property
    def units(self) -> dict[str, str]:
        return {task.name: task.unit for task in self.tasks}

    def threshold(self, score: float, classes: Collection[str] = ()) -> "Result":
        """Return the result with those detections that score at least this.

        ``classes`` are the names of those that are kept, by default all.
        """
        output, found = dict(self), self.instances
        if found is not None:
            names = [class_title(label, self.metadata) for label in found.pred_classes.tolist()]
            chosen = np.array([not classes or name in classes for name in names], bool)
            output["instances"] = found[(found.scores.numpy() >= score) & chosen]
        facts = {"image": self.image, "tasks": self.tasks, "metadata": self.metadata}
        return Result(output, name=self.name, score_threshold=score, **facts)

    def describe(self, score: float, classes: Collection[str] = ()) -> str:
        """Return the objects of ``threshold`` in words, or why there is none."""
        if self.instances is None:
            return "the model has no detector"
        kind = " or ".join(classes) or "object"
        if seen := self.threshold(score, classes).objects():
            counts = Counter(thing["category"] for thing in seen)
            return ", ".join(f"{count} × {name}" for name, count in counts.items())
        if not (others := self.threshold(0, classes).objects()):
            return f"no {kind} is detected at any score"
        best = f"{others[0]['category']} {others[0]['score']:.2f}"
        return f"no {kind} scores {score:g} or more; the best is {best}: lower the threshold"

    def objects(self) -> list[dict[str, Any]]:
        """Return of each detection ``category``, ``score``, and ``bbox`` as in COCO, x y w h.

        A model without a detector has none.
        """
        found = self.instances
        if found is None:
            return []
        boxes = BoxMode.convert(found.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        boxes = boxes.numpy().astype(float).round(2).tolist()
        rows = zip(found.pred_classes.tolist(), found.scores.tolist(), boxes, strict=True)
        return [
            {"category": class_title(label, self.metadata), "score": score, "bbox": box}
            for label, score, box in rows
        ]

    def rankings(self, count: int = RANKED) -> dict[str, dict[str, float]]:
        """Return the ``count`` most probable classes, best first, by each task that has classes."""
        found = {
            task.name: task.ranking(self[task.name].numpy(), self.metadata, count)
            for task in self.tasks
        }
        return {name: ranking for name, ranking in found.items() if ranking}

    def summary(self) -> dict[str, Any]:
        """Return all but the maps as what JSON can hold."""
        facts = {"file_name": self.name} if self.name else {}
        facts |= {"height": self.image.shape[0], "width": self.image.shape[1]}
        if self.instances is not None:
            facts["instances"] = self.objects()
        return facts | self.rankings()

    def to_json(self) -> str:
        return json.dumps(self.summary(), indent=1)

    def plot(self) -> np.ndarray:
        """Return one row of panels, uint8 (H, W, 3), RGB: the image and all predictions."""
        return draw_output(self.image, self, self.tasks, self.metadata, self.score_threshold)

    def save(self, path: str | Path) -> None:
        """Write the picture of ``plot``, in the format of the suffix, or ``to_json`` to .json."""
        path = Path(path)
        if path.suffix != ".json":
            return write_picture(path, self.plot())
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(self.to_json().encode())

    def save_maps(self, path: str | Path) -> dict[str, dict[str, str]]:
        """Write each map (C, H, W) to ``<path>_<task>.npy``; return the names and the units."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        files = {}
        for task in self.tasks:
            if self[task.name].ndim == 3:
                name = f"{path}_{task.name}.npy"
                with atomic_file(name) as file:
                    np.save(file, self[task.name].numpy())
                files[task.name] = {"file_name": name, "unit": task.unit}
        return files
