"""The number of classes from the data set, where a config leaves it open."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

# Of the detectors.
NODES = ("SSD", "FCOS", "RETINANET", "ROI_HEADS")


def thing_classes(cfg: CfgNode) -> Sequence[str]:
    """Return the classes of objects of the first data set; none if they are not known."""
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    return MetadataCatalog.get(names[0]).get("thing_classes", ()) if names else ()


def with_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a config in which each NUM_CLASSES of 0 is the number of the data set's classes."""
    open_nodes = [name for name in NODES if cfg.MODEL[name].NUM_CLASSES == 0]
    count = len(thing_classes(cfg)) if open_nodes else 0
    if not count:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    for name in open_nodes:
        cfg.MODEL[name].NUM_CLASSES = count
    return cfg
