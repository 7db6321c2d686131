"""Which settings change what a training learns."""

from typing import Any

from detectron2.config import CfgNode

from rock_d2.checkpoint.identity import flat_settings

# Settings of the place, the speed and the observation of a training; it learns the same.
NO_DIFFERENCE = (
    *("VERSION", "OUTPUT_DIR", "SEED", "MODEL.DEVICE"),
    *("DATALOADER.NUM_WORKERS", "DATALOADER.RESIDENT"),
    *("SOLVER.CHECKPOINT_PERIOD", "SOLVER.LOG_PERIOD", "SOLVER.GRADIENT_CONFLICT_PERIOD"),
    # Results name their protocol, and those of several do not come into one table.
    *("TEST.EVAL_PERIOD", "TEST.NUM_PICTURES", "TEST.PROTOCOL", "TEST.EVAL_CROP"),
    *("TEST.BEST_METRIC", "TEST.BEST_MODE"),
)


def differences(config: CfgNode, other: CfgNode) -> list[tuple[str, Any, Any]]:
    """Return the settings that change what is learnt and differ: (name, here, there)."""
    here, there = dict(flat_settings(config)), dict(flat_settings(other))
    return [
        (name, here.get(name), there.get(name))
        for name in {**there, **here}
        if here.get(name) != there.get(name) and name not in NO_DIFFERENCE
    ]
