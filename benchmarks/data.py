"""What it takes to map an image, against Detectron2's mapper with the same transforms."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle, islice
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper

from benchmarks.timing import report, take_turns
from rock_d2.config import add_rock_config
from rock_d2.config import merge_pairs
from rock_d2.data import RockDatasetMapper, build_train_loader
from rock_d2.data.augmentation import build_augmentations
from rock_d2.data.loader import check_registered
from rock_d2.freed_memory import keep_freed_memory

ROUNDS = 20
BATCHES = 6


def run(args: argparse.Namespace) -> None:
    # Loader workers have one thread each, so that is what counts.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    cfg = get_cfg()
    add_rock_config(cfg)
    merge_pairs(cfg, args.opts)
    check_registered([args.dataset], "--dataset")
    # As many as the batches have, whatever the size of the data set.
    records = list(islice(cycle(DatasetCatalog.get(args.dataset)), BATCHES * args.batch_size))
    mappers = {
        "Detectron2, image and boxes": detectron2_mapper(cfg),
        "rock_d2, image and boxes": rock_mapper(cfg, tasks=[]),
        "rock_d2, all labels": rock_mapper(cfg, tasks=cfg.MODEL.ROCK.TASKS),
    }
    candidates = {
        name: partial(map_all, mapper, records, count()) for name, mapper in mappers.items()
    }
    mapper = mappers["rock_d2, all labels"]
    resident = partial(resident_batches, records, mapper, args.batch_size)
    candidates["the same, from memory"] = resident(None)
    device = torch.device(args.device)
    candidates[f"the same, from memory, whole batches on {device}"] = resident(device)
    times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=1, device=args.device)
    report(
        {name: seconds / len(records) for name, seconds in times.items()},
        title=f"mapping an image of {args.dataset}",
        file=args.json,
    )


def detectron2_mapper(cfg: CfgNode) -> DatasetMapper:
    return DatasetMapper(
        is_train=True,
        augmentations=build_augmentations(without_crop(cfg), is_train=True),
        image_format=cfg.INPUT.FORMAT,
    )


def rock_mapper(cfg: CfgNode, tasks: list[str]) -> RockDatasetMapper:
    cfg = without_crop(cfg)
    cfg.MODEL.ROCK.TASKS = tasks
    return RockDatasetMapper(cfg, is_train=True)


def without_crop(cfg: CfgNode) -> CfgNode:
    """Detectron2's mapper gives no boxes to augmentations, so SSD's crop cannot run in it."""
    cfg = cfg.clone()
    cfg.INPUT.MIN_IOU_CROP.ENABLED = False
    return cfg


def map_all(mapper: Callable, records: list[dict], seeds: Iterator[int]) -> None:
    np.random.seed(next(seeds))
    for record in records:
        mapper(record)


def resident_batches(
    records: list[dict], mapper: RockDatasetMapper, batch_size: int, device: torch.device | None
) -> Callable[[], Any]:
    """What makes the next batches of decoded images; ``device`` None leaves them to the host."""
    settings = {"total_batch_size": batch_size, "seed": 0, "resident": True, "device": device}
    batches = iter(build_train_loader(records, mapper=mapper, **settings))
    return lambda: list(islice(batches, BATCHES))
