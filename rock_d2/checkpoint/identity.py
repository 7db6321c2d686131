"""Whether a resumed training is the training that a checkpoint is of."""

from collections.abc import Iterator
from typing import Any

from detectron2.config import CfgNode

# Settings that decide what a step computes, except those that only say how and from where.
DECISIVE = (
    *("MODEL.", "MODEL_EMA.", "INPUT.", "DATASETS.", "DATALOADER.BOXED"),
    *("SEED", "SOLVER.IMS_PER_BATCH", "SOLVER.OPTIMIZER", "SOLVER.ACCUMULATE", "SOLVER.AMP."),
    # Checkpoints hold them with the optimizer.
    *("SOLVER.BASE_LR", "SOLVER.BIAS_LR_FACTOR", "SOLVER.LR_MULTIPLIERS", "SOLVER.WEIGHT_DECAY"),
    *("SOLVER.MOMENTUM", "SOLVER.NESTEROV"),
)
INDIFFERENT = ("MODEL.WEIGHTS", "MODEL.TIMM.PRETRAINED", "MODEL.DEVICE", "DATASETS.TEST")


def identity(cfg: CfgNode, *, num_images: int) -> dict[str, str]:
    """Return what must be the same for a training on so many images to be resumed."""
    found = {
        key: str(value)
        for key, value in flat_settings(cfg)
        if key.startswith(DECISIVE) and not key.startswith(INDIFFERENT)
    }
    return {**found, "number of training images": str(num_images)}


def flat_settings(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its full name, tuples as lists."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, tuple) else value


def check_identity(path: str, *, stored: dict[str, str], now: dict[str, str]) -> None:
    """Raise ValueError if a checkpoint is of another training; older ones may lack a setting."""
    differences = [
        f"{key} was {stored[key]} and is {value}"
        for key, value in now.items()
        if stored.get(key, value) != value
    ]
    if differences:
        raise ValueError(
            f"{path} is of another training: {'; '.join(differences[:5])} ({len(differences)} in "
            "all). Restore these, or take another OUTPUT_DIR and start with it as MODEL.WEIGHTS"
        )
