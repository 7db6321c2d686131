#!/usr/bin/env python
"""Measures rock_d2 against something, in one run and in turn.

    python tools/benchmark.py data --dataset rooms_train
    python tools/benchmark.py memory --dataset rooms_train

`data`: the time that RockDatasetMapper takes for an image with all labels, as a ratio to
Detectron2's DatasetMapper, which maps image and boxes, with the same transforms.

`memory`: the memory of four loader workers over two passes over 20 000 registered images, which
are the data set's own, repeated.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper
from tabulate import tabulate
from tqdm import tqdm

from rock_d2 import RockDatasetMapper, add_rock_config, build_train_loader
from rock_d2.data.augmentation import build_augmentations
from rock_d2.data.build import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["data", "memory"])
    parser.add_argument("--dataset", default="rooms_train", help="its registered name")
    parser.add_argument("--rounds", type=int, default=20, help="passes over up to 50 images")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs of the config")
    return parser.parse_args()


def benchmark_data(args: argparse.Namespace) -> None:
    # Loader workers have one thread each, so that is what counts.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(args.opts)
    records = DatasetCatalog.get(args.dataset)[:50]
    mappers = {
        "Detectron2, image and boxes": detectron2_mapper(cfg),
        "rock_d2, image and boxes": rock_mapper(cfg, tasks=[]),
        "rock_d2, all labels": rock_mapper(cfg, tasks=cfg.MODEL.ROCK.TASKS),
    }
    times = {name: [] for name in mappers}
    for seed in range(args.rounds + 1):
        for name, mapper in mappers.items():
            times[name].append(seconds_per_image(mapper, records, seed))
    report({name: rounds[1:] for name, rounds in times.items()})


def benchmark_memory(args: argparse.Namespace) -> None:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(args.opts)
    records = DatasetCatalog.get(args.dataset)
    records = [records[i % len(records)] | {"image_id": i} for i in range(20_000)]
    mapper = RockDatasetMapper(cfg, is_train=True)
    loader = build_train_loader(records, mapper=mapper, total_batch_size=8, seed=0, num_workers=4)
    rows = []
    for batch, _ in enumerate(tqdm(islice(loader, 5000), total=5000), start=1):
        if batch % 625 == 0:
            rows.append((batch / 2500, sum(map(proportional_memory, worker_ids())) / 2**20))
    print(tabulate(rows, headers=["passes", "MB of all workers (PSS)"], floatfmt=("g", ".0f")))


def worker_ids() -> list[int]:
    return [worker.pid for worker in multiprocessing.active_children()]


def proportional_memory(process: int) -> int:
    """Bytes of a process, with pages that it shares divided by the number of sharers."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


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


def seconds_per_image(mapper: Callable, records: list[dict], seed: int) -> float:
    np.random.seed(seed)
    start = time.perf_counter()
    for record in records:
        mapper(record)
    return (time.perf_counter() - start) / len(records)


def report(times: dict[str, list[float]]) -> None:
    """A table of medians, their spread, and the median of the ratios round by round."""
    first = next(iter(times.values()))
    rows = []
    for name, rounds in times.items():
        low, _, high = statistics.quantiles(rounds, n=4)
        ratio = statistics.median(a / b for a, b in zip(rounds, first, strict=True))
        middle = statistics.median(rounds)
        rows.append((name, f"{1e3 * middle:.2f}", f"{1e3 * (high - low):.2f}", f"{ratio:.2f}"))
    print(tabulate(rows, headers=["", "ms (median)", "ms (quartiles apart)", "ratio"]))


if __name__ == "__main__":
    arguments = parse_args()
    {"data": benchmark_data, "memory": benchmark_memory}[arguments.what](arguments)
