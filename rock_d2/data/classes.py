"""Numbers of classes: counted in the data set where a config has 0, else checked against it."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rock_d2.tasks import TASK_REGISTRY, build_tasks


def resolve_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config in which each NUM_CLASSES of 0 is that of the first data set.

    A detector has as many as ``thing_classes``, a task as many as ``<task>_classes``.
    """
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    resolved = cfg.clone()
    resolved.defrost()
    nodes = {"thing_classes": detector_key(cfg)}
    for name in (*cfg.MODEL.TASKS.MAIN, *cfg.MODEL.TASKS.AUXILIARY):
        if name in TASK_REGISTRY:
            task = TASK_REGISTRY.get(name)
            nodes[f"{task.name}_classes"] = f"TASKS.{task.name.upper()}"
    for fact, key in nodes.items():
        node = resolved.MODEL
        for part in key.split("."):
            node = node.get(part, CfgNode())
        if node.get("NUM_CLASSES") != 0:
            continue
        found = len(MetadataCatalog.get(names[0]).get(fact, ())) if names else 0
        if not found:
            where = f"data set `{names[0]}` has no {fact}" if names else "DATASETS.TRAIN is empty"
            raise ValueError(f"MODEL.{key}.NUM_CLASSES is 0, but {where} to count")
        node.NUM_CLASSES = found
    if cfg.is_frozen():
        resolved.freeze()
    return resolved


def detector_key(cfg: CfgNode) -> str:
    """Return the key below ``cfg.MODEL`` that holds the detector's NUM_CLASSES, if it has one."""
    architecture = cfg.MODEL.META_ARCHITECTURE
    detector = cfg.MODEL.DETECTOR if architecture == "MultiTask" else architecture
    # Detectron2's two-stage detectors count classes where they classify.
    return {"GeneralizedRCNN": "ROI_HEADS"}.get(detector, detector.upper())


def check_classes(cfg: CfgNode, names: Sequence[str]) -> None:
    """Raise ValueError if a data set has other classes than the detector or a task."""
    key = detector_key(cfg)
    expected = cfg.MODEL.get(key, CfgNode()).get("NUM_CLASSES", 0)
    for name in names:
        metadata = MetadataCatalog.get(name)
        found = len(metadata.get("thing_classes", ()))
        if found and expected not in (0, found):
            raise ValueError(
                f"MODEL.{key}.NUM_CLASSES is {expected}, but data set `{name}` has {found} "
                "thing_classes"
            )
        for task in build_tasks(cfg):
            task.check_metadata(metadata)
