"""Average precision as in PASCAL VOC 2010 to 2012 (devkit, VOCevaldet.m).

A detection belongs to the object of its image that it overlaps most, whether or not another
detection has claimed that object; the first claim with enough IoU is right, all else is wrong.
The area is that under the precision envelope, at all points. Crowds play the part of VOC's
difficult objects: they are not to be found, and finding them is no mistake.

VOC counts pixels, so a box ends at its last pixel and IoU adds 1 to every side. COCO's boxes end
one further, behind it: on them the plain, continuous IoU is the same number.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import BoxMode
from torchvision.ops import box_iou


def voc_average_precisions(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], *, iou: float = 0.5
) -> np.ndarray:
    """Return the AP of each category by id, 0 to 1; NaN for those without objects.

    ``truth`` is a COCO document, ``found`` has COCO's result format.
    """
    objects, detections = (defaultdict(lambda: defaultdict(list)) for _ in range(2))
    for group, items in ((objects, truth["annotations"]), (detections, found)):
        for item in items:
            group[item["category_id"]][item["image_id"]].append(item)
    categories = sorted(item["id"] for item in truth["categories"])
    return np.array([average_precision(objects[k], detections[k], iou=iou) for k in categories])


def average_precision(
    objects: Mapping[int, Sequence[Mapping[str, Any]]],
    detections: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    iou: float,
) -> float:
    """Return the AP of one category, of objects and detections by image; NaN without objects."""
    num_objects = sum(not item.get("iscrowd") for image in objects.values() for item in image)
    if num_objects == 0:
        return float("nan")
    claims = []
    for image, found in detections.items():
        claimed = claimed_objects(objects.get(image, ()), found, iou=iou)
        claims += [(-x["score"], image, k) for x, k in zip(found, claimed, strict=True)]
    right, taken = [], set()
    # By score; among equal ones the image with the smaller id comes first.
    for _, image, k in sorted(claims, key=lambda claim: claim[:2]):
        if k is None:
            right.append(False)
        elif not objects[image][k].get("iscrowd"):
            right.append((image, k) not in taken)
            taken.add((image, k))
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall grows by one object with each right detection.
    return float(envelope[np.array(right, bool)].sum() / num_objects)


def claimed_objects(
    objects: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], *, iou: float
) -> list[int | None]:
    """Return which object of its image each detection claims; None where the IoU is too small."""
    if not objects:
        return [None] * len(found)
    # Two empty boxes have a union of 0.
    overlap, best = box_iou(corners(found), corners(objects)).nan_to_num().max(dim=1)
    return [k if o >= iou else None for o, k in zip(overlap.tolist(), best.tolist(), strict=True)]


def corners(items: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Return float64 (n, 4), x0 y0 x1 y1."""
    boxes = torch.tensor([item["bbox"] for item in items], dtype=torch.float64).view(-1, 4)
    return BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
