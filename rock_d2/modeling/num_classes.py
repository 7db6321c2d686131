"""The number of classes from the data sets, where a config leaves it open."""

from detectron2.config import CfgNode

from rock_d2.classes import class_names

# Of the detectors.
NODES = ("SSD", "FCOS", "RETINANET", "ROI_HEADS")


def with_num_classes(cfg: CfgNode) -> CfgNode:
    """Return a config in which each NUM_CLASSES of 0 is the number of the data sets' classes."""
    open_nodes = [name for name in NODES if cfg.MODEL[name].NUM_CLASSES == 0]
    count = len(class_names(cfg)) if open_nodes else 0
    if not count:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    for name in open_nodes:
        cfg.MODEL[name].NUM_CLASSES = count
    return cfg
