"""The dataset dicts of a training or an evaluation, of which some may have unknown boxes.

Such a dict has no ``annotations``; an empty list says that there is no object.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import build, get_detection_dataset_dicts

from rock_d2.classes import ALL, BOXES, class_names, of_each_set, places_of, thing_classes
from rock_d2.tasks import TASK_REGISTRY

T = TypeVar("T")


def set_dicts(name: str) -> list[dict[str, Any]]:
    return get_detection_dataset_dicts([name], filter_empty=False, check_consistency=False)


def training_dicts(
    cfg: CfgNode, *, filter_empty: bool = False, min_keypoints: int = 0
) -> list[dict[str, Any]]:
    """Return the dataset dicts of DATASETS.TRAIN; those with unknown boxes last, never filtered.

    Objects have the detector's class numbers. ``ignored_classes`` of a dict are those that its set
    does not annotate, ``repeat`` says how many times a pass sees it, 1 by default. (Detectron2's
    own function takes sets of the same classes, and that all images have ``annotations`` or none.)
    """
    names, classes = cfg.DATASETS.TRAIN, class_names(cfg)
    repeats, kept = of_each_set(cfg, "REPEAT", 1), of_each_set(cfg, "KEEP_LABELS", ALL)
    if not all(type(repeat) is int and repeat > 0 for repeat in repeats):
        raise ValueError(f"DATASETS.REPEAT is {repeats}; it must be whole numbers from 1 on")
    records = []
    for name, labels, repeat in zip(names, kept, repeats, strict=True):
        found = with_classes(with_labels(set_dicts(name), labels), name, classes)
        records += [record | {"repeat": repeat} for record in found] if repeat > 1 else found
    boxed = [record for record in records if "annotations" in record]
    unboxed = [record for record in records if "annotations" not in record]
    if boxed and filter_empty:
        boxed = build.filter_images_with_only_crowd_annotations(boxed)
    if boxed and min_keypoints:
        boxed = build.filter_images_with_few_keypoints(boxed, min_keypoints)
    if boxed and classes:
        build.print_instances_class_histogram(boxed, classes)
    if not boxed and not unboxed:
        raise ValueError(f"{', '.join(names)}: no image has an object")
    return boxed + unboxed


def with_labels(records: list[dict[str, Any]], labels: str) -> list[dict[str, Any]]:
    """Return the dicts with the labels alone that a value of DATASETS.KEEP_LABELS names."""
    fields = {task.name: task.field for _, task in TASK_REGISTRY} | {BOXES: "annotations"}
    kept = set(labels.split())
    if unknown := kept - fields.keys() - {ALL}:
        raise ValueError(
            f"DATASETS.KEEP_LABELS: there is no {', '.join(sorted(unknown))}; there are {ALL}, "
            f"{', '.join(sorted(fields))}"
        )
    if ALL in kept:
        return records
    dropped = {field for name, field in fields.items() if name not in kept}
    return [{k: v for k, v in record.items() if k not in dropped} for record in records]


def with_classes(
    records: list[dict[str, Any]], name: str, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a set's dicts with the classes by their numbers among ``classes``, without others."""
    own = thing_classes(name)
    if classes and not own and any("annotations" in record for record in records):
        raise ValueError(f"DATASETS.TRAIN: `{name}` has boxes and no thing_classes; register them")
    places = places_of(own, classes)
    if places is None:
        return records
    ignored = {"ignored_classes": sorted(set(range(len(classes))) - set(places))}
    return [
        record | {"annotations": list(renumbered(record["annotations"], places))} | ignored
        if "annotations" in record
        else record
        for record in records
    ]


def renumbered(objects: Sequence[dict[str, Any]], places: Sequence[int]) -> Iterator[Any]:
    """Yield the objects that have a place, with it as their class."""
    for found in objects:
        if (place := places[found["category_id"]]) >= 0:
            yield found | {"category_id": place}


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
