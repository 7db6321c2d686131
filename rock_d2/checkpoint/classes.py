"""Names of classes in checkpoints, and predictors for weights of a training on other classes."""

import logging
import re
from collections.abc import Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rock_d2.checkpoint.formats import Tensors
from rock_d2.classes import class_names, first_set
from rock_d2.tasks import TASK_REGISTRY

logger = logging.getLogger(__name__)

# Names of predictors, the rows of the background behind those of the classes, the rows of a class.
PREDICTORS = (
    (r"head\.cls_score\.\d+\.", 1, 1),  # SSD
    (r"head\.cls_score\.(weight|bias)", 0, 1),  # RetinaNet, FCOS
    (r"roi_heads\.box_predictor\.(\d+\.)?cls_score\.", 1, 1),
    (r"roi_heads\.box_predictor\.(\d+\.)?bbox_pred\.", 0, 4),
    (r"roi_heads\.mask_head\.predictor\.", 0, 1),
)


def adapt_predictors(
    path: str,
    tensors: Tensors,
    state: Mapping[str, torch.Tensor],
    *,
    there: Sequence[str],
    here: Sequence[str],
    by_name: bool,
) -> None:
    """Leave out a file's predictors of other classes, or give ours the rows of the same names.

    Args:
        tensors: of the file by the model's names; changed in place.
        state: of the model as it is initialised.
        there, here: the classes of the file and of the model; nothing changes if both are equal.
        by_name: whether classes of both, and the background, keep their rows. A ValueError says
            where that cannot be.
    """
    if by_name and not there:
        raise ValueError(
            f"{path}: does not say its classes, as checkpoints of trainings do; set "
            "MODEL.WEIGHTS_BY_CLASS_NAME False"
        )
    if not there or not here or list(there) == list(here):
        return
    adapted = []
    for name in sorted(tensors.keys() & state.keys()):
        old, fresh = tensors[name], state[name]
        for pattern, background, rows in PREDICTORS:
            if not re.match(pattern, name):
                continue
            sizes = [(len(classes) + background) * rows for classes in (there, here)]
            if predicts_classes(old, fresh, sizes):
                del tensors[name]
                adapted.append(name)
                if by_name:
                    kinds = [*there, *[None] * background], [*here, *[None] * background]
                    tensors[name] = with_rows(old, fresh, *kinds, rows=rows)
            elif by_name and old.shape != fresh.shape:
                raise ValueError(
                    f"{path}: {name} is {tuple(old.shape)} there and {tuple(fresh.shape)} here, "
                    "which is more than other classes; set the model's settings to those of the "
                    "file, or MODEL.WEIGHTS_BY_CLASS_NAME False"
                )
    kept = [name for name in here if by_name and name in there]
    fresh_names = [name for name in here if name not in kept]
    if adapted:
        logger.info(f"Classes that keep their weights: {', '.join(kept) or 'none'}")
        logger.info(f"Classes that start afresh: {', '.join(fresh_names) or 'none'}")


def predicts_classes(old: torch.Tensor, fresh: torch.Tensor, sizes: Sequence[int]) -> bool:
    """Return whether two tensors hold equally many times these numbers of rows."""
    if old.dim() != fresh.dim() or old.shape[1:] != fresh.shape[1:]:
        return False
    counts = [divmod(len(tensor), size) for tensor, size in zip((old, fresh), sizes, strict=True)]
    return counts[0] == counts[1] and counts[0][1] == 0


def with_rows(
    old: torch.Tensor,
    fresh: torch.Tensor,
    there: Sequence[str | None],
    here: Sequence[str | None],
    *,
    rows: int,
) -> torch.Tensor:
    """Return a predictor with the old rows of what both predict, the others fresh.

    Its first axis is (anchors x predicted x rows), ``there`` and ``here`` name the middle part.
    """
    old = old.reshape(-1, len(there), rows, *old.shape[1:])
    new = fresh.reshape(-1, len(here), rows, *fresh.shape[1:]).clone()
    for place, name in enumerate(here):
        if name in there:
            new[:, place] = old[:, there.index(name)]
    return new.reshape(fresh.shape)


def names_by_kind(cfg: CfgNode) -> dict[str, list[str]]:
    """Return ``thing_classes``, the detector's, and the data sets' other facts of this kind."""
    facts: dict[str, list[str]] = {}
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        facts = MetadataCatalog.get(name).as_dict() | facts
    facts["thing_classes"] = class_names(cfg)
    for task in map(TASK_REGISTRY.get, (*cfg.MODEL.TASKS.MAIN, *cfg.MODEL.TASKS.AUXILIARY)):
        key, teaching = getattr(task, "class_list", ""), first_set(cfg, task.name)
        if key and teaching:
            facts[key] = MetadataCatalog.get(teaching).get(key, facts.get(key, ()))
    return {key: list(x) for key, x in facts.items() if key.endswith("_classes") and x}
