"""Whether a resumed training is the training that a checkpoint is of."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# Settings that decide what a step computes, except those that only say how and from where.
DECISIVE = (
    *("MODEL.", "MODEL_EMA.", "INPUT.", "DATASETS.", "DATALOADER.BOXED"),
    *("SOLVER.IMS_PER_BATCH", "SOLVER.OPTIMIZER", "SOLVER.ACCUMULATE", "SOLVER.AMP."),
)
INDIFFERENT = ("MODEL.WEIGHTS", "MODEL.DEVICE", "DATASETS.TEST")
SHAPES = "shapes of the weights"
DIFFERENCES_SHOWN = 5

Identity = dict[str, str]


def identity(
    cfg: CfgNode, *, records: Sequence[Mapping[str, Any]], model: torch.nn.Module
) -> Identity:
    """Return what must be the same for a training to be resumed.

    Args:
        cfg: of the training.
        records: the training images that are used.
        model: of the training.
    """
    found = {
        key: str(value)
        for key, value in flat_settings(cfg)
        if key.startswith(DECISIVE) and not key.startswith(INDIFFERENT)
    }
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return {
        **found,
        "SEED": "drawn" if cfg.SEED < 0 else str(cfg.SEED),
        "processes": str(comm.get_world_size()),
        "training images": f"{len(records)} ({_digest([r.get('image_id') for r in records])})",
        SHAPES: _digest(shapes),
    }


def flat_settings(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its full name, tuples as lists."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, tuple) else value


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def check_identity(path: str, *, stored: Any, now: Identity, anyway: bool) -> None:
    """Raise ValueError if a checkpoint is of another training, or warn if ``anyway`` is set."""
    if not isinstance(stored, dict):
        logger.warning(f"{path} does not say which training it is of; it is used as it is")
        return
    differences = [
        f"{key} was {stored.get(key, 'absent')} and is {now.get(key, 'absent')}"
        for key in {**now, **stored}
        if stored.get(key) != now.get(key)
    ]
    if not differences:
        return
    listed = f"{'; '.join(differences[:DIFFERENCES_SHOWN])} ({len(differences)} in all)"
    if not anyway:
        raise ValueError(
            f"{path} is of another training: {listed}. Restore these, choose another OUTPUT_DIR, "
            "or resume with --resume-anyway"
        )
    logger.warning(f"{path} is of another training: {listed}. It is resumed anyway")
