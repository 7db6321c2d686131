"""Small trainings on rooms within the test's process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng

from rock_d2 import model_zoo, register_multitask_coco
from rock_d2.engine.trainer import RockTrainer

# Six iterations; losses are read and metrics written after 3 and 6, nothing is evaluated.
SETTINGS = (
    *("SEED", 1, "MODEL.DEVICE", "cpu", "INPUT.SIZE", [48, 64], "DATALOADER.NUM_WORKERS", 0),
    *("DATASETS.TRAIN", ("few_train",), "DATASETS.TEST", ()),
    *("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.SSD.IN_FEATURES", ["res4"]),
    *("MODEL.ROCK.IN_FEATURE", "res4", "MODEL.ROCK.WIDTH", 32, "MODEL.SSD.EXTRA_CHANNELS", [32]),
    *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,)),
    *("SOLVER.BASE_LR", 1e-3, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
    *("SOLVER.LOG_PERIOD", 3, "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.CHECKPOINTS_KEPT", 0),
    *("SOLVER.AMP.ENABLED", False, "TEST.EVAL_PERIOD", 0, "TEST.NUM_PICTURES", 0),
)


@contextmanager
def few_rooms(root: Path) -> Iterator[None]:
    """Registers the rooms below ``root`` as few_train and few_val."""
    names = {"few_train": "rooms_train", "few_val": "rooms_val"}
    for name, rooms in names.items():
        known = MetadataCatalog.get(rooms)
        register_multitask_coco(
            name,
            str(root / f"rooms/annotations/{rooms}.json"),
            str(root / "rooms"),
            thing_classes=known.thing_classes,
            scene_classes=known.scene_classes,
            depth_range=known.depth_range,
        )
    try:
        yield
    finally:
        for name in names:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def config(folder: Path, *settings: object) -> CfgNode:
    cfg = model_zoo.get_config("quick_schedules/rock_rooms_quick.yaml")
    cfg.merge_from_list([*SETTINGS, *settings, "OUTPUT_DIR", str(folder)])
    return cfg


def new_trainer(folder: Path, *settings: object, resume: bool = False, **options) -> RockTrainer:
    cfg = config(folder, *settings)
    folder.mkdir(exist_ok=True)
    # A resumed process starts with random numbers of its own.
    seed_all_rng(77 if resume or cfg.SEED < 0 else cfg.SEED)
    trainer = RockTrainer(cfg)
    trainer.resume_or_load(resume, **options)
    return trainer


def first_images(trainer: RockTrainer) -> list[int]:
    """The images that this process reads next."""
    return [item["image_id"] for item in next(iter(trainer.data_loader))]


def stored(folder: Path, name: str = "model_final") -> dict[str, Any]:
    return torch.load(folder / f"{name}.pth", weights_only=True)
