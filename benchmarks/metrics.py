"""Measuring the edges of a frame of 480 x 640 by MTI-Net's protocol, against InvPT's."""

import argparse
from functools import partial

import cv2
import numpy as np
from detectron2.data import DatasetCatalog

from benchmarks.timing import report, take_turns
from rock_d2.tasks import Edges
from rock_d2.tasks.thinning import thin

ROUNDS = 5
DATA_SET = "rooms_val"
# The noise's deviation in logits, and the size of its blobs in pixels.
NOISE, BLOB = 1.2, 2.0


def run(args: argparse.Namespace) -> None:
    label = Edges().read(DatasetCatalog.get(DATA_SET)[0])
    if label is None:
        raise ValueError(f"{DATA_SET} has no edges: render it again, `make_rooms.py --overwrite`")
    truth = thin(cv2.resize(label, (640, 480), interpolation=cv2.INTER_NEAREST) == 1)
    # As a network's: blurred, and with something everywhere.
    blurred = cv2.GaussianBlur(np.float32(truth), (0, 0), 3)
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=truth.shape), (0, 0), BLOB)
    logits = 8 * blurred / blurred.max() - 3 + NOISE * noise / noise.std()
    prediction = np.float32(1 / (1 + np.exp(-logits)))[None]
    protocols = {
        "99 thresholds": Edges(max_dist=0.011),
        "101 thresholds, NMS": Edges(max_dist=0.011, thresholds=101, nms=True),
    }
    countings = {
        name: partial(task.meter().count, prediction, np.float32(truth))
        for name, task in protocols.items()
    }
    times = take_turns(countings, rounds=args.rounds or ROUNDS, warm_up=0)
    report(times, title=f"Edges of a frame with {truth.sum()} true pixels", file=args.json)
