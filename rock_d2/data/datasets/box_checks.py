"""The numbers of a set, and boxes that are well-formed and wrong: in other units, given twice."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from detectron2.data import Metadata

from rock_d2.data.datasets.coco import COCO_FIELDS
from rock_d2.data.datasets.validation import BOX_TOLERANCE, entries, is_int

# Share of the boxes that have to have a fault before it is one of the set.
MANY = 0.2
# Boxes of a set that reach no further than this are of a smaller image.
SMALL_REACH, ENOUGH_BOXES = 0.6, 50


def box_faults(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of all boxes together, and the boxes that are given twice."""
    images = {image["id"]: image for image in entries(document, "images")}
    objects = [a for a in entries(document, "annotations") if a["image_id"] in images]
    yield from _twice(objects, images)
    if not objects:
        return
    boxes = np.array([found["bbox"] for found in objects], dtype=np.float64)
    owners = [images[found["image_id"]] for found in objects]
    sizes = np.array([(image["width"], image["height"]) for image in owners], dtype=np.float64)
    ends = boxes[:, :2] + boxes[:, 2:]
    leaving = (ends > sizes + BOX_TOLERANCE).any(axis=1)
    in_units = (ends <= 1).all(axis=1)
    reach = (ends / sizes.clip(1)).max(axis=1)
    if in_units.mean() > MANY:
        yield (
            f"{in_units.sum()} of {len(boxes)} boxes lie within 0 and 1: they look like shares of "
            "the image's sides; `bbox` is in pixels"
        )
    elif leaving.mean() > MANY:
        corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + BOX_TOLERANCE)
        yield f"{leaving.sum()} of {len(boxes)} boxes leave their image" + (
            ": they look like [x0, y0, x1, y1]; `bbox` is [x, y, width, height]"
            if corners.all()
            else f", up to {reach.max():.1f} of its size: they look like those of larger images"
        )
    elif len(boxes) >= ENOUGH_BOXES and reach.max() < SMALL_REACH:
        yield (
            f"no box reaches beyond {reach.max():.0%} of its image: they look like those of "
            "smaller images"
        )


def _twice(
    objects: list[Mapping[str, Any]], images: Mapping[int, Mapping[str, Any]]
) -> Iterator[str]:
    seen: dict[tuple, int] = {}
    for found in objects:
        key = (found["image_id"], found["category_id"], *found["bbox"])
        if key in seen:
            file = images[found["image_id"]]["file_name"]
            yield f"{file}: annotation id {found['id']} is the same as annotation id {seen[key]}"
        seen[key] = found["id"]


def facts(document: Mapping[str, Any], metadata: Metadata) -> dict[str, str]:
    """Return a line each about boxes, objects, scenes and the further fields of images."""
    images, boxes = entries(document, "images"), entries(document, "annotations")
    sides = [math.sqrt(max(found["bbox"][2] * found["bbox"][3], 0)) for found in boxes]
    kinds = {kind["id"]: kind["name"] for kind in entries(document, "categories")}
    objects = Counter(dict.fromkeys(kinds.values(), 0))
    objects.update(kinds.get(found["category_id"], "unknown") for found in boxes)
    names = dict(enumerate(metadata.get("scene_classes", ())))
    scenes = [image["scene_id"] for image in images if is_int(image.get("scene_id"))]
    further = {name for image in images for name in image} - COCO_FIELDS
    few, median, many = np.quantile(sides or [0], (0.05, 0.5, 0.95))
    return {
        "boxes": f"{few:.0f} / {median:.0f} / {many:.0f} pixels wide and high (5, 50 and 95 %)",
        "objects": listed(objects),
        "scenes": listed(Counter(str(names.get(scene, scene)) for scene in scenes)),
        "further fields of images": ", ".join(sorted(further)),
    }


def listed(counter: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
