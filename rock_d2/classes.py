"""The detector's classes, which are those of several data sets, and their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

ALL, BOXES = "all", "boxes"
# Of MODEL, that have a NUM_CLASSES.
DETECTOR_NODES = ("SSD", "FCOS", "RETINANET", "ROI_HEADS")


def of_each_set(cfg: CfgNode, key: str, default: Any) -> list[Any]:
    """Return a setting of DATASETS that has a value for each training set, or none."""
    values, names = list(cfg.DATASETS[key]) or [default] * len(cfg.DATASETS.TRAIN), cfg.DATASETS
    if len(values) != len(names.TRAIN):
        raise ValueError(
            f"DATASETS.{key} is {values}; it must have a value for each of {list(names.TRAIN)}"
        )
    return values


def first_set(cfg: CfgNode, task: str, default: str = "") -> str:
    """Return the first training set that teaches a task, or the first of all sets."""
    kept = zip(cfg.DATASETS.TRAIN, of_each_set(cfg, "KEEP_LABELS", ALL), strict=True)
    names = [name for name, labels in kept if {ALL, task} & {*labels.split()}]
    return next(iter([*names, *cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]), default)


def thing_classes(name: str) -> list[str]:
    """Return the classes of a data set, none where it does not say."""
    return list(MetadataCatalog.get(name).get("thing_classes", ()))


def class_names(cfg: CfgNode) -> list[str]:
    """Return the detector's classes in their order; none where no data set says which."""
    found = [classes for classes in boxed_sets(cfg).values() if classes]
    if cfg.DATASETS.CLASSES:
        return list(cfg.DATASETS.CLASSES)
    if len(found) > 1:
        return list(dict.fromkeys(name for classes in found for name in classes))
    # Evaluation alone.
    return found[0] if found else [n for name in cfg.DATASETS.TEST[:1] for n in thing_classes(name)]


def boxed_sets(cfg: CfgNode) -> dict[str, list[str]]:
    """Return the classes of each training set whose boxes are used."""
    kept = zip(cfg.DATASETS.TRAIN, of_each_set(cfg, "KEEP_LABELS", ALL), strict=True)
    return {name: thing_classes(name) for name, labels in kept if {ALL, BOXES} & {*labels.split()}}


def has_ignored_classes(cfg: CfgNode) -> bool:
    """Return whether a training set with boxes lacks some of the detector's classes."""
    names = set(class_names(cfg))
    return any(classes and names - set(classes) for classes in boxed_sets(cfg).values())


def with_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a config in which each NUM_CLASSES of 0 is the number of the data sets' classes."""
    open_nodes = [name for name in DETECTOR_NODES if cfg.MODEL[name].NUM_CLASSES == 0]
    count = len(class_names(cfg)) if open_nodes else 0
    if not count:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    for name in open_nodes:
        cfg.MODEL[name].NUM_CLASSES = count
    return cfg


def places_of(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Return where each name stands among the others, -1 if nowhere; None if all are the same."""
    if list(names) == list(others) or not names or not others:
        return None
    place = {name: i for i, name in enumerate(others)}
    return [place.get(name, -1) for name in names]


def renumbered(output: Mapping[str, Any], places: Sequence[int] | None) -> dict[str, Any]:
    """Return a model's output with the class numbers of ``places_of``, without those of -1."""
    if places is None or "instances" not in output:
        return dict(output)
    found = output["instances"]
    classes = torch.tensor(places, device=found.pred_classes.device)[found.pred_classes]
    kept = found[classes >= 0]
    kept.pred_classes = classes[classes >= 0]
    return {**output, "instances": kept}
