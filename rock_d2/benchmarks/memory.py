"""The memory of four loader workers over two passes over 20 000 registered images."""

import argparse
import multiprocessing
from itertools import islice
from pathlib import Path

from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from tabulate import tabulate
from tqdm import tqdm

from rock_d2.config import add_rock_config
from rock_d2.config_files import merge_pairs
from rock_d2.data import RockDatasetMapper, build_train_loader
from rock_d2.data.build import check_registered


def run(args: argparse.Namespace) -> None:
    cfg = get_cfg()
    add_rock_config(cfg)
    merge_pairs(cfg, args.opts)
    check_registered([args.dataset], "--dataset")
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
