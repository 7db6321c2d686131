"""The number of classes from the data set, where a config leaves it open."""

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

# Of the detectors.
NODES = ("SSD", "FCOS", "RETINANET", "ROI_HEADS")


def with_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a config in which each NUM_CLASSES of 0 is the number of the data set's classes."""
    open_nodes = [name for name in NODES if cfg.MODEL[name].NUM_CLASSES == 0]
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    count = len(MetadataCatalog.get(names[0]).get("thing_classes", ())) if names else 0
    if not open_nodes or not count:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    for name in open_nodes:
        cfg.MODEL[name].NUM_CLASSES = count
    return cfg
