"""A set of very many images: how long it takes to read, and whether a worker's memory stays."""

import argparse
import json
import multiprocessing
import random
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from rock_d2 import build_train_loader, register_multitask_coco
from rock_d2.config import load_config

SIZE = (48, 64)
CLASSES, BOXES = 5, 5
# Between which the workers' memory is looked at.
BATCHES = (10, 1000, 2000)


def run(args: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        write_set(Path(folder), args.images)
        register_multitask_coco("large", f"{folder}/large.json", folder)
        cfg = load_config(
            args.config[0],
            ["DATASETS.TRAIN", ("large",), "MODEL.TASKS.AUXILIARY", ["Depth", "Normals"]]
            + ["DATALOADER.NUM_WORKERS", 2, "DATALOADER.RESIDENT", False]
            + ["SOLVER.IMS_PER_BATCH", args.batch_size, *args.opts],
        )
        cpu, wall = time.process_time(), time.perf_counter()
        batches = iter(build_train_loader(cfg))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        boxes = args.images * BOXES
        print(f"{args.images} images with {boxes} boxes: {cpu:.1f} s of CPU, {wall:.1f} s")
        seen = 0
        for count in BATCHES[: args.rounds]:
            for _ in islice(batches, count - seen):
                pass
            seen = count
            shares = ", ".join(f"{share:.0f}" for share in workers_memory())
            print(f"after {count} batches of {args.batch_size}: {shares} MiB in each worker")


def write_set(folder: Path, count: int) -> None:
    """Write the annotations of images that share their files."""
    for name, image in (
        ("image.png", np.zeros((*SIZE, 3), np.uint8)),
        ("depth.png", np.full(SIZE, 2000, np.uint16)),
        ("normals.png", np.full((*SIZE, 3), 127, np.uint8)),
    ):
        cv2.imwrite(str(folder / name), image)
    rng = random.Random(0)
    labels = {"depth_file_name": "depth.png", "normals_file_name": "normals.png"}
    images = [
        {"id": i, "file_name": "image.png", "height": SIZE[0], "width": SIZE[1], **labels}
        for i in range(1, count + 1)
    ]
    annotations = [
        {
            "id": i * BOXES + j,
            "image_id": i,
            "category_id": rng.randint(1, CLASSES),
            "bbox": [rng.randint(0, 40), rng.randint(0, 30), 20, 15],
            "area": 300,
            "iscrowd": 0,
        }
        for i in range(1, count + 1)
        for j in range(BOXES)
    ]
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "large.json").write_text(json.dumps(content), encoding="utf-8")


def workers_memory() -> list[float]:
    """Return the memory of each loader worker in MiB, of what is shared its share (Linux)."""
    shares = []
    for process in multiprocessing.active_children():
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        shares += [int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")]
    return shares
