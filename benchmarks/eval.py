"""COCO's box evaluation by hotcoco, against pycocotools."""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from benchmarks.timing import report, take_turns
from rock_d2.evaluation.boxes import coco_scores

ROUNDS = 3
DATA_SET = "rooms_val"
# Noisy copies of each object as detections.
COPIES = 10


def run(args: argparse.Namespace) -> None:
    DatasetCatalog.get(DATA_SET)
    truth = json.loads(Path(MetadataCatalog.get(DATA_SET).json_file).read_text())
    rng = np.random.default_rng(0)
    found = [
        {
            "image_id": item["image_id"],
            "category_id": item["category_id"],
            "bbox": [x + 0.1 * min(item["bbox"][2:]) * rng.normal() for x in item["bbox"]],
            "score": rng.random(),
        }
        for item in truth["annotations"] * COPIES
    ]
    scorings = {
        name: partial(coco_scores, truth, found, backend=name)
        for name in ("pycocotools", "hotcoco")
    }
    precisions = [scoring()[1] for scoring in scorings.values()]
    times = take_turns(scorings, rounds=args.rounds or ROUNDS, warm_up=0)
    title = f"Box evaluation of {len(found)} detections in {DATA_SET}"
    report(times, title=title, images=len(truth["images"]), file=args.json)
    difference = np.abs(precisions[0] - precisions[1]).max()
    print(f"Largest difference in precision: {difference:.1e}")
