"""Objects of NYUv2 as COCO annotations, by each convention that figures were published with.

full         every instance of the 19 classes in the full frame
gupta-crop   the same in the 425 x 560 pixels that Gupta et al., ECCV 2014, evaluate on
port         rock-pytorch (the public PyTorch port of ROCK): full frame, boxes without the last
             row and column, and in frame i, counted from 0, no object of label i
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dataset_tree import CATEGORY_IDS, object_annotations

CONVENTIONS = ("full", "gupta-crop", "port")

# cropIt.m of Gupta's code is I(46:470, 41:600) in MATLAB.
GUPTA_ROWS = slice(45, 470)
GUPTA_COLUMNS = slice(40, 600)

# NYUv2's instance ids are uint8.
IDS_PER_CATEGORY = 256


@dataclass(frozen=True)
class FrameObjects:
    """What one frame shows of the 19 classes.

    Attributes:
        annotations: COCO annotations without ids.
        too_small: objects left out because of the smallest area.
        without_instance: pixels of the 19 classes whose instance id is 0; they are in no box.
    """

    annotations: list[dict[str, Any]]
    too_small: int
    without_instance: int


def category_table(names: Sequence[str]) -> np.ndarray:
    """uint8 (len(names) + 1,): the COCO category of each label, 0 for all but 19 of them.

    A class is exactly one label name: 'coffee table' is no table (Gupta's detectionTasks.m).
    """
    return np.array([0] + [CATEGORY_IDS.get(name, 0) for name in names], dtype=np.uint8)


def frame_objects(
    labels: np.ndarray,
    instances: np.ndarray,
    categories: np.ndarray,
    *,
    convention: str,
    index: int,
    min_area: int,
) -> FrameObjects:
    """The objects of frame ``index``, counted from 0; an object is a pair of label and instance.

    Args:
        labels, instances: (H, W), cropped already if the convention wants it.
        categories: of ``category_table``.
        convention: one of ``CONVENTIONS``.
        min_area: objects with fewer visible pixels are left out.
    """
    if convention == "port":
        categories = _without_label(categories, index)
    category = categories[labels]
    keys = category.astype(np.uint16) * IDS_PER_CATEGORY + instances
    areas = np.bincount(keys.ravel(), minlength=(len(CATEGORY_IDS) + 1) * IDS_PER_CATEGORY)
    is_object = areas > 0
    is_object[:IDS_PER_CATEGORY] = False
    is_object[::IDS_PER_CATEGORY] = False
    present = np.flatnonzero(is_object & (areas >= min_area))
    number = np.zeros(len(areas), dtype=np.uint16)
    number[present] = np.arange(1, len(present) + 1)
    annotations = object_annotations(number[keys], (present // IDS_PER_CATEGORY).tolist())
    if convention == "port":
        annotations = [a | {"bbox": _without_last_pixel(a["bbox"])} for a in annotations]
    return FrameObjects(
        annotations=annotations,
        too_small=int(is_object.sum()) - len(present),
        without_instance=int(np.count_nonzero((category > 0) & (instances == 0))),
    )


def _without_label(categories: np.ndarray, index: int) -> np.ndarray:
    """The port's `classes[classes != i]` means label 0 but i is the frame's index."""
    remaining = categories.copy()
    remaining[index : index + 1] = 0
    return remaining


def _without_last_pixel(bbox: list[int]) -> list[int]:
    """The port takes max - min for the width and the height."""
    x, y, w, h = bbox
    return [x, y, w - 1, h - 1]
