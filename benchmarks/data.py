"""Mapping images with all labels, by workers and from memory, against Detectron2's mapper."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import cv2
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper

from benchmarks.timing import report, take_turns
from benchmarks.train import training_config
from rock_d2.config import load_config
from rock_d2.data import RockDatasetMapper, build_train_loader
from rock_d2.data.augmentation import build_augmentations
from rock_d2.data.loader import check_registered

ROUNDS = 5
# So many that the few that workers have ready from the time of others do not count.
BATCHES = 24
# Detectron2's mapper gives no boxes to augmentations, so SSD's crop cannot run in it.
WITHOUT_CROP = ("INPUT.MIN_IOU_CROP.ENABLED", False)
NO_TASKS = ("MODEL.TASKS.MAIN", [], "MODEL.TASKS.AUXILIARY", [], "MODEL.NECK.NAME", "IdentityNeck")


def run(args: argparse.Namespace) -> None:
    # Loader workers have one thread each, which is what counts.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cfg = load_config(training_config(args, args.config[0]), WITHOUT_CROP)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    records = cycle(DatasetCatalog.get(cfg.DATASETS.TRAIN[0]))
    records = list(islice(records, BATCHES * args.batch_size))
    mappers = {
        "Detectron2's DatasetMapper, image and boxes": DatasetMapper(
            is_train=True,
            augmentations=build_augmentations(cfg, is_train=True),
            image_format=cfg.INPUT.FORMAT,
        ),
        "rock_d2, image and boxes": RockDatasetMapper(load_config(cfg, NO_TASKS), is_train=True),
        "rock_d2, all labels": RockDatasetMapper(cfg, is_train=True),
    }
    candidates = {name: partial(map_all, mapper, records) for name, mapper in mappers.items()}
    candidates["the loader, 2 workers"] = batches_of(cfg, "DATALOADER.NUM_WORKERS", 2)
    candidates["the loader, from memory"] = batches_of(cfg, "DATALOADER.RESIDENT", True)
    times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=1)
    title = f"{len(records)} images of {cfg.DATASETS.TRAIN[0]}"
    report(times, title=title, images=len(records), file=args.json)


def map_all(mapper: Callable[[dict], Any], records: Iterable[dict]) -> None:
    for record in records:
        mapper(record)


def batches_of(cfg: CfgNode, *settings: Any) -> Callable[[], Sequence[Any]]:
    """Return a call that takes the next batches of a loader with these settings."""
    batches = iter(build_train_loader(load_config(cfg, settings)))
    return lambda: list(islice(batches, BATCHES))
