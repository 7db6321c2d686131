"""Values that settings can have: what has the right type and makes no sense is told at once.

Names that are looked up in a place of their own (tasks, optimizers, features) are told there.
"""

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.layers import get_norm
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

from rock_d2.engine.run_log import flat_settings
from rock_d2.engine.setting_conflicts import GROUPS, conflicts
from rock_d2.evaluation.meters import CROPS
from rock_d2.modeling.fusion import FUSION_REGISTRY
from rock_d2.modeling.neck import NECK_REGISTRY
from rock_d2.modeling.ssd_head import SSD_HEAD_REGISTRY


class Rule(NamedTuple):
    """What a setting must be, in words and as a test."""

    text: str
    holds: Callable[[Any], bool]


def at_least(least: float, most: float = math.inf) -> Rule:
    """Numbers from ``least`` on, up to ``most`` if that is finite; never infinite."""
    text = f"{least} or more" if most == math.inf else f"from {least} to {most}"
    return Rule(text, lambda value: least <= value <= most and math.isfinite(value))


def above(bound: float, most: float = math.inf) -> Rule:
    text = f"above {bound}" + ("" if most == math.inf else f" and at most {most}")
    return Rule(text, lambda value: bound < value <= most and math.isfinite(value))


def one_of(*names: Any) -> Rule:
    return Rule(f"one of {', '.join(map(repr, names))}", lambda value: value in names)


def registered(registry: Any) -> Rule:
    """A name in a registry, to which programs can add."""
    return Rule(
        f"one of {', '.join(name for name, _ in registry)}", lambda value: value in registry
    )


def each(rule: Rule, count: int | None = None, *, ascending: bool = False) -> Rule:
    """A list of values that obey a rule."""

    def holds(values: Any) -> bool:
        in_order = not ascending or all(a <= b for a, b in pairwise(values))
        return (count is None or len(values) == count) and in_order and all(map(rule.holds, values))

    order = ", in ascending order" if ascending else ""
    return Rule(f"{'a list of' if count is None else count} values, each {rule.text}{order}", holds)


def only(value: Any, instead: str) -> Rule:
    """For what Detectron2's own trainer, mapper or models do and these do not."""
    return Rule(f"{value!r} here: {instead}", lambda found: found == value)


def is_norm(name: str) -> bool:
    try:
        get_norm(name, GROUPS)
    except KeyError:
        return False
    return True


COUNT, SIZE, SHARE, WEIGHT = at_least(0), at_least(1), at_least(0, 1), at_least(0)
NORM = Rule("a name that Detectron2's get_norm knows, such as BN, FrozenBN, GN", is_norm)
ANY_NUMBER = Rule("finite", math.isfinite)

# A rule holds for every setting that fits its pattern.
RULES: Mapping[str, Rule] = {
    "SEED": Rule(f"below {2**31}; negative values draw one", lambda value: value < 2**31),
    "VIS_PERIOD": only(0, "TEST.NUM_PICTURES shows predictions at each evaluation"),
    "MODEL.META_ARCHITECTURE": registered(META_ARCH_REGISTRY),
    "MODEL.MASK_ON": only(False, "boxes are what is detected"),
    "MODEL.KEYPOINT_ON": only(False, "boxes are what is detected"),
    "MODEL.LOAD_PROPOSALS": only(False, "an SSD has none"),
    "MODEL.BACKBONE.NAME": registered(BACKBONE_REGISTRY),
    "MODEL.BACKBONE.FREEZE_AT": at_least(-1, 5),
    "MODEL.NECK.NAME": registered(NECK_REGISTRY),
    "MODEL.PIXEL_MEAN": each(ANY_NUMBER, 3),
    "MODEL.PIXEL_STD": each(above(0), 3),
    "MODEL.RESNETS.DEPTH": one_of(18, 34, 50, 101, 152),
    "MODEL.RESNETS.OUT_FEATURES": each(one_of("stem", "res2", "res3", "res4", "res5")),
    "MODEL.RESNETS.NUM_GROUPS": SIZE,
    "MODEL.RESNETS.WIDTH_PER_GROUP": SIZE,
    "MODEL.RESNETS.*_OUT_CHANNELS": SIZE,
    "MODEL.RESNETS.RES5_DILATION": one_of(1, 2),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": each(one_of(False, True), 4),
    "MODEL.*.NORM": NORM,
    "MODEL.SSD.HEAD": registered(SSD_HEAD_REGISTRY),
    "MODEL.SSD.IN_FEATURES": Rule("at least one feature", bool),
    "MODEL.SSD.EXTRA_CHANNELS": each(at_least(2)),
    "MODEL.SSD.SCALES": each(above(0), 3, ascending=True),
    "MODEL.SSD.ASPECT_RATIOS": each(above(0)),
    "MODEL.SSD.IOU_THRESHOLDS": each(SHARE, 2, ascending=True),
    "MODEL.SSD.BBOX_REG_WEIGHTS": each(above(0), 4),
    "MODEL.SSD.NEG_POS_RATIO": WEIGHT,
    "MODEL.SSD.FOCAL_GAMMA": WEIGHT,
    "MODEL.SSD.FOCAL_ALPHA": SHARE,
    "MODEL.SSD.SMOOTH_L1_LOSS_BETA": WEIGHT,
    "MODEL.SSD.*_LOSS_WEIGHT": WEIGHT,
    "MODEL.SSD.PRIOR_PROB": Rule("between 0 and 1", lambda value: 0 < value < 1),
    "MODEL.SSD.SCORE_THRESH_TEST": SHARE,
    "MODEL.SSD.NMS_THRESH_TEST": SHARE,
    "MODEL.SSD.TOPK_CANDIDATES_TEST": SIZE,
    "MODEL.ROCK.WIDTH": SIZE,
    "MODEL.ROCK.FUSION.NAME": registered(FUSION_REGISTRY),
    "MODEL.ROCK.*.LOSS_WEIGHT": WEIGHT,
    "MODEL.ROCK.*.CHANNELS": SIZE,
    "MODEL.*.NUM_CLASSES": SIZE,
    "MODEL.ROCK.*.BERHU_FRACTION": above(0, 1),
    "MODEL_EMA.DECAY": Rule("from 0 to below 1", lambda value: 0 <= value < 1),
    "INPUT.SIZE": each(at_least(16), 2),
    "INPUT.MIN_SIZE_TRAIN": only([800], "INPUT.SIZE is that of all images"),
    "INPUT.MIN_SIZE_TEST": only(800, "INPUT.SIZE is that of all images"),
    "INPUT.MAX_SIZE_*": only(1333, "INPUT.SIZE is that of all images"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": only("choice", "INPUT.SIZE is that of all images"),
    "INPUT.FORMAT": one_of("BGR", "RGB"),
    "INPUT.RANDOM_FLIP": one_of("horizontal", "vertical", "none"),
    "INPUT.CROP.ENABLED": only(False, "INPUT.MIN_IOU_CROP crops"),
    "INPUT.MIN_IOU_CROP.MIN_IOUS": each(SHARE),
    "INPUT.MIN_IOU_CROP.MIN_AREA": above(0, 1),
    "INPUT.MIN_IOU_CROP.TRIALS": SIZE,
    "INPUT.EXPAND.PROB": SHARE,
    "INPUT.EXPAND.MAX_RATIO": at_least(1),
    "INPUT.COLOR_AUG.LIGHTING": WEIGHT,
    "DATASETS.TRAIN_FRACTION": above(0, 1),
    "DATALOADER.NUM_WORKERS": COUNT,
    "DATALOADER.SAMPLER_TRAIN": only("TrainingSampler", "each pass sees each image once"),
    # The pauses double: ten attempts take eight minutes.
    "DATALOADER.RETRIES": at_least(0, 10),
    "DATALOADER.MAX_UNREADABLE": COUNT,
    "DATALOADER.TIMEOUT": COUNT,
    "SOLVER.MAX_ITER": SIZE,
    "SOLVER.*_PERIOD": COUNT,
    "SOLVER.LOG_PERIOD": SIZE,
    "SOLVER.CHECKPOINT_PERIOD": SIZE,
    "SOLVER.CHECKPOINTS_KEPT": COUNT,
    "SOLVER.SKIP_NONFINITE": COUNT,
    "SOLVER.PROCESS_TIMEOUT": SIZE,
    "SOLVER.EARLY_STOPPING.PATIENCE": COUNT,
    "SOLVER.IMS_PER_BATCH": SIZE,
    "SOLVER.ACCUMULATE": SIZE,
    "SOLVER.REFERENCE_WORLD_SIZE": COUNT,
    "SOLVER.BASE_LR": WEIGHT,
    "SOLVER.BIAS_LR_FACTOR": WEIGHT,
    "SOLVER.MOMENTUM": SHARE,
    "SOLVER.WEIGHT_DECAY": WEIGHT,
    "SOLVER.WEIGHT_DECAY_NORM": Rule(
        f"{WEIGHT.text}, or null for that of other weights",
        lambda value: value is None or WEIGHT.holds(value),
    ),
    "SOLVER.GAMMA": WEIGHT,
    "SOLVER.STEPS": each(COUNT, ascending=True),
    # The last one is of Detectron2's main branch.
    "SOLVER.LR_SCHEDULER_NAME": one_of(
        "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    ),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.WARMUP_ITERS": COUNT,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": above(0),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule("above 0", lambda value: value > 0),
    "TEST.AUG.ENABLED": only(False, "each image is seen once, as it is"),
    "TEST.PRECISE_BN.ENABLED": only(False, "MODEL_EMA averages these statistics, too"),
    "TEST.IMS_PER_BATCH": SIZE,
    "TEST.EVAL_PERIOD": COUNT,
    "TEST.BEST_MODE": one_of("max", "min"),
    "TEST.EVAL_CROP": one_of("none", *CROPS),
    "TEST.NUM_PICTURES": COUNT,
    "TEST.DETECTIONS_PER_IMAGE": SIZE,
}


def check_values(cfg: CfgNode, num_processes: int) -> None:
    """Raises ValueError for the first setting whose value cannot be, and tells what can.

    Args:
        cfg: of a run.
        num_processes: of the training; 0 if the run only evaluates.
    """
    for key, value in flat_settings(cfg):
        for pattern, rule in RULES.items():
            if fnmatch(key, pattern) and not obeys(value, rule):
                raise ValueError(f"{key} is {value!r}; it must be {rule.text}")
    for problem in conflicts(cfg, num_processes):
        raise ValueError(problem)


def obeys(value: Any, rule: Rule) -> bool:
    """Lists in a file can hold anything, and any setting can be null there."""
    try:
        return rule.holds(value)
    except TypeError:
        return False
