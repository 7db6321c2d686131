"""Numbers of classes: from the data set where a config has 0, and checked where it has another."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rock_d2.tasks import TASK_REGISTRY, build_tasks

# MODEL.<NODE>.NUM_CLASSES of detectors whose node has another name than they have.
DETECTOR_NODES = {"GeneralizedRCNN": "ROI_HEADS"}


def resolve_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config whose NUM_CLASSES of detector and tasks are counted where 0.

    The facts of the first data set are counted: ``thing_classes``, and ``<task>_classes``.
    """
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    copy = cfg.clone()
    copy.defrost()
    node = detector_node(copy)
    if node is not None and node.NUM_CLASSES == 0:
        node.NUM_CLASSES = count_classes("thing_classes", names, setting=node_name(cfg))
    for task in (TASK_REGISTRY.get(name) for name in (*cfg.MODEL.TASKS.MAIN, *cfg.MODEL.TASKS.AUXILIARY)):
        setting = copy.MODEL.TASKS[task.name.upper()]
        if setting.get("NUM_CLASSES") == 0:
            where = f"MODEL.TASKS.{task.name.upper()}.NUM_CLASSES"
            setting.NUM_CLASSES = count_classes(f"{task.name}_classes", names, setting=where)
    if cfg.is_frozen():
        copy.freeze()
    return copy
