"""Small trainings on rooms within the test's process, and their comparison."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.env import seed_all_rng

from rock_d2 import model_zoo
from rock_d2.engine import RockTrainer

QUICK = "quick_schedules/rock_rooms_quick.yaml"
# Six iterations on 15 images in batches of 4, so that passes end within batches; losses are read
# and written after 3 and 6, nothing is evaluated.
SETTINGS = (
    *("SEED", 1, "MODEL.DEVICE", "cpu", "INPUT.SIZE", [48, 64], "DATALOADER.NUM_WORKERS", 0),
    *("DATASETS.TEST", (), "TEST.EVAL_PERIOD", 0, "TEST.NUM_PICTURES", 0),
    *("MODEL.ROCK.WIDTH", 32, "MODEL.SSD.EXTRA_CHANNELS", [32], "MODEL_EMA.ENABLED", False),
    *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,)),
    *("SOLVER.BASE_LR", 1e-3, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
    *("SOLVER.LOG_PERIOD", 3, "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.CHECKPOINTS_KEPT", 0),
    *("SOLVER.AMP.ENABLED", False),
)
# Values that differ between runs of the same training.
TIMES = {"time", "data_time", "images_per_second", "eta_seconds", "memory_gb"}


def config(folder: Path, *settings: object, file: str = QUICK) -> CfgNode:
    cfg = model_zoo.get_config(file)
    cfg.merge_from_list([*SETTINGS, *settings, "OUTPUT_DIR", str(folder)])
    return cfg


def new_trainer(
    folder: Path, *settings: object, file: str = QUICK, resume: bool = False, **options
) -> RockTrainer:
    cfg = config(folder, *settings, file=file)
    folder.mkdir(exist_ok=True)
    # A resumed process starts with random numbers of its own.
    seed_all_rng(77 if resume or cfg.SEED < 0 else cfg.SEED)
    trainer = RockTrainer(cfg)
    trainer.resume_or_load(resume, **options)
    return trainer


def stored(folder: Path, name: str = "model_final") -> dict[str, Any]:
    return torch.load(folder / f"{name}.pth", weights_only=True)


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.json without times."""
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [{key: line[key] for key in line.keys() - TIMES} for line in lines]


def differences(one: Path, other: Path) -> list[str]:
    """Return the places at which the last checkpoints of two trainings are not equal bit for bit.

    Their settings may differ.
    """
    contents = [stored(folder) for folder in (one, other)]
    for content in contents:
        del content["identity"]
    return list(differing(*contents))


def differing(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield the places at which two nested values are not equal bit for bit."""
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict):
        for key in {**one, **other}:
            yield from differing(one.get(key), other.get(key), f"{place}.{key}")
    elif not (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other):
        yield place
