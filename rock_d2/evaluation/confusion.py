"""Which classes a detector confuses, and which objects it misses or invents."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torchvision.ops import box_iou

from rock_d2.evaluation.boxes import category_ids, only_known
from rock_d2.evaluation.voc import corners


def confusion_matrix(
    truth: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    *,
    min_iou: float = 0.5,
    min_score: float = 0.5,
) -> np.ndarray:
    """Count detections by true class (row) and predicted class (column): int64 (K + 1, K + 1).

    In each image, detections are matched to objects of any class with an IoU of ``min_iou`` or
    more, in the order of their scores. The last row counts detections without an object (false
    positives), the last column objects without a detection (false negatives). Crowds are left out.
    """
    truth, found = only_known(truth, found)
    numbers = {category: k for k, category in enumerate(category_ids(truth))}
    matrix = np.zeros((len(numbers) + 1, len(numbers) + 1), np.int64)
    objects, detections = defaultdict(list), defaultdict(list)
    for item in truth["annotations"]:
        if not item.get("iscrowd"):
            objects[item["image_id"]].append(item)
    for item in sorted(found, key=lambda item: -item["score"]):
        if item["score"] >= min_score:
            detections[item["image_id"]].append(item)
    for image in truth["images"]:
        there, seen = objects[image["id"]], detections[image["id"]]
        overlaps = box_iou(corners(seen), corners(there))
        rows = [numbers[item["category_id"]] for item in there]
        for item, overlap in zip(seen, overlaps, strict=True):
            best = int(overlap.argmax()) if len(there) else -1
            column = numbers[item["category_id"]]
            if best < 0 or overlap[best] < min_iou:
                matrix[-1, column] += 1
                continue
            matrix[rows[best], column] += 1
            overlaps[:, best] = -1
            rows[best] = -1
        for row in rows:
            if row >= 0:
                matrix[row, -1] += 1
    return matrix
