"""The dataset dicts of a training or an evaluation, of which some may have unknown boxes.

Such a dict has no ``annotations``; an empty list says that there is no object.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from detectron2.data import (
    MetadataCatalog,
    build,
    detection_utils,
    get_detection_dataset_dicts,
)

T = TypeVar("T")


def dataset_dicts(
    names: Sequence[str], *, filter_empty: bool = False, min_keypoints: int = 0
) -> list[dict[str, Any]]:
    """Return the dataset dicts of some sets; those with unknown boxes last, and never filtered.

    Detectron2's own function takes it that all of them have ``annotations``, or none.

    Args:
        names: registered.
        filter_empty: whether images without objects are left out.
        min_keypoints: of an image that is not left out.
    """
    records = get_detection_dataset_dicts(names, filter_empty=False, check_consistency=False)
    boxed = [record for record in records if "annotations" in record]
    unboxed = [record for record in records if "annotations" not in record]
    if boxed and filter_empty:
        boxed = build.filter_images_with_only_crowd_annotations(boxed)
    if boxed and min_keypoints:
        boxed = build.filter_images_with_few_keypoints(boxed, min_keypoints)
    classes = MetadataCatalog.get(names[0]).get("thing_classes")
    if boxed and classes:
        detection_utils.check_metadata_consistency("thing_classes", names)
        build.print_instances_class_histogram(boxed, classes)
    if not boxed and not unboxed:
        raise ValueError(f"{', '.join(names)}: no image has an object")
    return boxed + unboxed


def forget_boxes(records: Sequence[dict[str, Any]], *, kept: float) -> list[dict[str, Any]]:
    """Return the records with the boxes of only that share of the images that have some."""
    boxed = [i for i, record in enumerate(records) if "annotations" in record]
    chosen = set(subset(boxed, kept, setting="DATASETS.BOXED_FRACTION"))
    return [
        record if i in chosen else {k: v for k, v in record.items() if k != "annotations"}
        for i, record in enumerate(records)
    ]


def subset(records: Sequence[T], fraction: float, *, setting: str) -> list[T]:
    """Return that share of the records, the nearest whole number of them, in their order.

    Smaller shares lie within larger ones (table 6), and none depends on the training's seed.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"{setting} is {fraction}; it must be in (0, 1]")
    order = np.random.default_rng(0).permutation(len(records))
    count = max(1, round(fraction * len(records)))
    return [records[i] for i in sorted(order[:count])]
