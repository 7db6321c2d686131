"""A ROCK that is small, random and so eager that it finds objects without any training."""

from detectron2.config import CfgNode

from rock_d2 import model_zoo

# From the repository's root, where command lines run.
CONFIG = "configs/quick_schedules/rock_rooms_quick.yaml"
BASELINE_CONFIG = "configs/quick_schedules/ssd_rooms_quick.yaml"
# Nearly all probability is shared between the 19 classes; some get more than the threshold.
OPTS = ("INPUT.SIZE", "[96, 128]", "MODEL.SSD.PRIOR_PROB", "0.95")
THRESHOLD = 0.095


def tiny_config(name: str = "rock") -> CfgNode:
    cfg = model_zoo.get_config(f"quick_schedules/{name}_rooms_quick.yaml")
    cfg.merge_from_list(list(OPTS))
    cfg.MODEL.DEVICE = "cpu"
    return cfg
