"""Whether a training may go on from a checkpoint: only as the same training."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from rock_d2.engine.writers import NO_DEVIATION, flat_settings
from rock_d2.files import hash_of

logger = logging.getLogger(__name__)

# Settings that decide what each step computes.
DECISIVE = (
    *("MODEL.", "MODEL_EMA.", "INPUT.", "DATASETS.TRAIN"),
    *("SOLVER.IMS_PER_BATCH", "SOLVER.OPTIMIZER", "SOLVER.ACCUMULATE", "SOLVER.AMP."),
)
# The weights that a training has begun with decide nothing any more.
INDIFFERENT = (*NO_DEVIATION, "MODEL.WEIGHTS")
DIFFERENCES_SHOWN = 5
SHAPES = "shapes of the weights"

Identity = dict[str, dict[str, Any]]


def identity(
    cfg: CfgNode, *, records: Sequence[Mapping[str, Any]], model: torch.nn.Module
) -> Identity:
    """What makes a training the one it is: ``decisive`` entries must agree, others are told.

    Args:
        cfg: of the training.
        records: the training set.
        model: of the training.
    """
    settings = {
        key: str(value) for key, value in flat_settings(cfg) if not key.startswith(INDIFFERENT)
    }
    decisive = {key: value for key, value in settings.items() if key.startswith(DECISIVE)}
    decisive |= {
        "SEED": "drawn" if cfg.SEED < 0 else cfg.SEED,
        "processes": comm.get_world_size(),
        **fingerprint(cfg.DATASETS.TRAIN, records),
        SHAPES: shapes_digest(model),
    }
    return {
        "decisive": decisive,
        "others": {key: value for key, value in settings.items() if key not in decisive},
    }


def fingerprint(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The annotations of the training sets, and which of their images are used."""
    found: dict[str, Any] = {"training images": len(records)}
    ids = hashlib.sha256(repr([record.get("image_id") for record in records]).encode())
    found["their ids"] = ids.hexdigest()[:16]
    for name in names:
        file = MetadataCatalog.get(name).get("json_file")
        if file and Path(file).is_file():
            found[f"annotations of {name}"] = hash_of(Path(file))[:16]
    return found


def shapes_digest(model: torch.nn.Module) -> str:
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]


def check_identity(path: str, *, stored: Identity | None, now: Identity, anyway: bool) -> None:
    """Raises ValueError if the checkpoint is another training's, unless ``anyway`` it may be."""
    if stored is None:
        logger.warning(f"{path} does not tell which training it is of; it is taken as it is")
        return
    for difference in differences(stored["others"], now["others"]):
        logger.warning(f"{path} is of a training with other settings: {difference}")
    found = list(differences(stored["decisive"], now["decisive"]))
    if not found:
        return
    more = len(found) - DIFFERENCES_SHOWN
    listed = "; ".join(found[:DIFFERENCES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    if not anyway:
        raise ValueError(
            f"{path} is of another training: {listed}. Restore these, choose another OUTPUT_DIR, "
            "or go on with --resume-anyway"
        )
    logger.warning(f"{path} is of another training: {listed}. It goes on with it anyway")


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in {**stored, **now}:
        if stored.get(key) != now.get(key):
            yield f"{key} was {stored.get(key, 'not there')} and is {now.get(key, 'not there')}"
