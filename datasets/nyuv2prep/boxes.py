"""Objects of NYUv2 as COCO annotations, by each convention that figures were published with.

full         every instance of the 19 classes in the full frame
gupta-crop   the same in the 425 x 560 pixels that Gupta et al., ECCV 2014, evaluate on
port         rock-pytorch (the public PyTorch port of ROCK): full frame, boxes without the last
             row and column, and in frame i, counted from 0, no object of label i
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from dataset_tree import CATEGORY_IDS, object_annotations

CONVENTIONS = ("full", "gupta-crop", "port")

# cropIt.m of Gupta's code is I(46:470, 41:600) in MATLAB.
GUPTA_ROWS = slice(45, 470)
GUPTA_COLUMNS = slice(40, 600)

# NYUv2's instance ids are uint8.
IDS_PER_CATEGORY = 256


def category_table(names: Sequence[str]) -> np.ndarray:
    """Return uint8 (len(names) + 1,): the COCO category of each label, 0 for all but 19 of them.

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
) -> list[dict[str, Any]]:
    """Return COCO annotations, without ids, of the objects of frame ``index``, counted from 0.

    An object is a pair of label and instance. Instance 0 is none.

    Args:
        labels, instances: (H, W), cropped already if the convention wants it.
        categories: of ``category_table``.
        convention: one of ``CONVENTIONS``.
        min_area: objects with fewer visible pixels are left out.
    """
    if convention == "port":
        # Its `classes[classes != i]` means label 0, but i is the frame's index.
        categories = np.where(np.arange(len(categories)) == index, 0, categories)
    keys = categories[labels].astype(np.uint16) * IDS_PER_CATEGORY + instances
    areas = np.bincount(keys.ravel(), minlength=(len(CATEGORY_IDS) + 1) * IDS_PER_CATEGORY)
    areas[:IDS_PER_CATEGORY] = 0
    areas[::IDS_PER_CATEGORY] = 0
    present = np.flatnonzero(areas >= max(min_area, 1))
    number = np.zeros(len(areas), dtype=np.uint16)
    number[present] = np.arange(1, len(present) + 1)
    annotations = object_annotations(number[keys], (present // IDS_PER_CATEGORY).tolist())
    if convention == "port":
        for annotation in annotations:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x, y, w - 1, h - 1]
    return annotations
