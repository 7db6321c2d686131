"""Average precision as in PASCAL VOC 2010 to 2012 (devkit, VOCevaldet.m).

A detection belongs to the object of its image that it overlaps most, whether or not another
detection has claimed that object; the first claim with enough IoU is right, all else is wrong.
The area is that under the precision envelope, at all points. Crowds play the part of VOC's
difficult objects: they are not to be found, and finding them is no mistake.

VOC counts pixels, so a box ends at its last pixel and IoU adds 1 to every side. COCO's boxes end
one further, behind it: on them the plain, continuous IoU is the same number.
"""

from typing import Any, NamedTuple

import numpy as np

from rock_d2.evaluation.detections import Detections


class Boxes(NamedTuple):
    """n boxes: corners (n, 4) as x1 y1 x2 y2, and the number of each one's image (n,)."""

    corners: np.ndarray
    image: np.ndarray

    def choose(self, which: np.ndarray) -> "Boxes":
        return Boxes(self.corners[which], self.image[which])


def voc_average_precisions(
    truth: dict[str, Any], detections: Detections, *, iou: float = 0.5
) -> np.ndarray:
    """AP of each category in the order of their ids, 0 to 1; NaN for those without objects.

    Args:
        truth: a COCO instances document.
        detections: with the document's ids.
        iou: the IoU that a right detection reaches.
    """
    annotations = truth["annotations"]
    objects = _boxes(
        np.array([item["bbox"] for item in annotations], float).reshape(-1, 4),
        np.array([item["image_id"] for item in annotations], int),
    )
    found, scores = _boxes(detections.boxes, detections.image_id), detections.score
    category = np.array([item["category_id"] for item in annotations], int)
    difficult = np.array([bool(item.get("iscrowd")) for item in annotations], bool)
    values = []
    for number in sorted(item["id"] for item in truth["categories"]):
        mine, theirs = category == number, detections.category_id == number
        values.append(
            average_precision(
                objects.choose(mine), difficult[mine], found.choose(theirs), scores[theirs], iou
            )
        )
    return np.array(values)


def average_precision(
    objects: Boxes, difficult: np.ndarray, found: Boxes, scores: np.ndarray, iou: float
) -> float:
    """AP of one category; NaN if it has no object that must be found.

    Args:
        objects, difficult: ground truth, and which of it need not be found (bool).
        found, scores: detections.
        iou: the IoU that a right detection reaches.
    """
    num_objects = (~difficult).sum()
    if num_objects == 0:
        return float("nan")
    match, overlap = best_matches(objects, found)
    claims = overlap >= iou
    # By score; of equal ones the first image goes first, however the images came in.
    order = np.lexsort((found.image, -scores))
    order = order[~(claims & difficult[match])[order]]
    claiming = np.flatnonzero(claims[order])
    _, first = np.unique(match[order][claiming], return_index=True)
    correct = np.zeros(len(order))
    correct[claiming[first]] = 1
    precision = correct.cumsum() / np.arange(1, len(order) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall grows by one object with each right detection.
    return float((correct * envelope).sum() / num_objects)


def best_matches(objects: Boxes, found: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the index of the object that it overlaps most, and their IoU.

    Where an image has no object, the IoU is 0 and the index means nothing.
    """
    # D detections, P pairs of a detection and an object of one image.
    by_image = np.argsort(objects.image, kind="stable")
    start = np.searchsorted(objects.image[by_image], found.image, side="left")
    count = np.searchsorted(objects.image[by_image], found.image, side="right") - start
    owner = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(owner)) - np.repeat(count.cumsum() - count, count)
    candidate = by_image[start[owner] + place]
    overlap = pair_iou(found.corners[owner], objects.corners[candidate])
    best_first = np.lexsort((-overlap, owner))
    detections, first = np.unique(owner[best_first], return_index=True)
    match, value = np.zeros(len(count), int), np.zeros(len(count))
    match[detections] = candidate[best_first[first]]
    value[detections] = overlap[best_first[first]]
    return match, value


def pair_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of (P, 4) with the other's box in the same row; 0 for two empty boxes."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    union = area_a + area_b - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _boxes(boxes: np.ndarray, image: np.ndarray) -> Boxes:
    """From x y w h (n, 4)."""
    return Boxes(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), image)
