"""The detections of a data set as arrays: a row for each of D boxes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

# As json.dumps writes an object of COCO's result format; repr is exact.
JSON_OBJECT = (
    '{{"image_id": {}, "category_id": {}, "bbox": [{!r}, {!r}, {!r}, {!r}], "score": {!r}}}'
)


class Detections(NamedTuple):
    """Boxes in the order in which they were found.

    Attributes:
        image_id, category_id: int64 (D,).
        boxes: x y w h, float64 (D, 4).
        score: float64 (D,).
    """

    image_id: np.ndarray
    category_id: np.ndarray
    boxes: np.ndarray
    score: np.ndarray

    @classmethod
    def from_model(
        cls, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> "Detections":
        """What a model found in a batch; ``category_id`` is its own number of the class."""
        found = [output["instances"] for output in outputs]
        boxes = torch.cat([image.pred_boxes.tensor for image in found])
        # In the model's own precision, as Detectron2 does it.
        boxes[:, 2:] -= boxes[:, :2]
        columns = (
            torch.cat([image.pred_classes for image in found]),
            boxes,
            torch.cat([image.scores for image in found]),
        )
        classes, boxes, scores = (column.cpu() for column in columns)
        ids = np.array([record["image_id"] for record in inputs], np.int64)
        image_id = np.repeat(ids, [len(image) for image in found])
        return cls(image_id, classes.numpy(), boxes.double().numpy(), scores.double().numpy())

    @classmethod
    def from_coco(cls, found: Sequence[Mapping[str, Any]]) -> "Detections":
        """Raises ValueError for what is not in COCO's result format."""
        try:
            ids = [whole_numbers([x[key] for x in found]) for key in ("image_id", "category_id")]
            values = np.array([[*x["bbox"], x["score"]] for x in found], float).reshape(-1, 5)
            if len(values) != len(found):
                raise ValueError("a bbox has not four numbers")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"not COCO's result format, a list of objects with image_id, category_id, bbox "
                f"(four numbers) and score: {error!r}"
            ) from None
        return cls(*ids, values[:, :4], values[:, 4])

    @classmethod
    def concatenate(cls, parts: Sequence["Detections"]) -> "Detections":
        none = cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty(0))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))

    def choose(self, which: np.ndarray) -> "Detections":
        return Detections(*(column[which] for column in self))

    def to_json(self) -> str:
        """COCO's result format, to the last byte what json.dumps makes of it."""
        numbers = (self.image_id, self.category_id, *self.boxes.T, self.score)
        rows = map(JSON_OBJECT.format, *(column.tolist() for column in numbers))
        return f"[{', '.join(rows)}]"


def whole_numbers(values: Sequence[Any]) -> np.ndarray:
    column = np.array(values)
    with np.errstate(invalid="ignore"):
        whole = column.astype(np.int64) if column.dtype.kind in "iuf" else None
    if whole is None or (whole != column).any():
        raise ValueError("ids must be whole numbers")
    return whole
