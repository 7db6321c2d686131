"""COCO's box evaluation by hotcoco, against pycocotools."""

import argparse
from functools import partial

import numpy as np

from benchmarks.timing import report, take_turns
from rock_d2.evaluation.backends import coco_scores
from rock_d2.evaluation.detections import Detections

ROUNDS = 3
NUM_FOUND, NUM_CLASSES = 100, 19


def run(args: argparse.Namespace) -> None:
    truth, found = made_up_set(args.images)
    detections = Detections.from_coco(found)
    scorings = {
        name: partial(coco_scores, truth, detections, backend=name)
        for name in ("pycocotools", "hotcoco")
    }
    expected, scores = (scoring() for scoring in scorings.values())
    times = take_turns(scorings, rounds=args.rounds or ROUNDS, warm_up=0)
    report(
        times,
        title=f"box evaluation, {args.images} images x {NUM_FOUND} detections, "
        f"{NUM_CLASSES} classes",
        images=args.images,
        file=args.json,
    )
    difference = np.abs(expected.precision - scores.precision).max()
    print(f"Largest difference in precision: {difference:.1e}")


def made_up_set(num_images: int) -> tuple[dict, list[dict]]:
    """Return a COCO document of 1 to 20 objects an image, and noisy copies of them as detections."""
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for image in range(1, num_images + 1):
        sides = np.exp(rng.uniform(np.log(8), np.log(300), (rng.integers(1, 21), 2)))
        boxes = np.hstack([rng.uniform(0, 300, sides.shape), sides])
        classes = rng.integers(1, NUM_CLASSES + 1, len(boxes))
        for box, number in zip(boxes.tolist(), classes.tolist(), strict=True):
            item = {"id": len(annotations) + 1, "image_id": image, "category_id": number}
            annotations.append(item | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        copied = rng.integers(len(boxes), size=NUM_FOUND)
        noisy = boxes[copied] + rng.normal(0, 0.1, (NUM_FOUND, 4)) * np.tile(sides[copied], 2)
        others = rng.integers(1, NUM_CLASSES + 1, NUM_FOUND)
        numbers = np.where(rng.random(NUM_FOUND) < 0.8, classes[copied], others).tolist()
        scores = rng.random(NUM_FOUND).tolist()
        detections += [
            {"image_id": image, "category_id": number, "bbox": box, "score": score}
            for box, number, score in zip(noisy.tolist(), numbers, scores, strict=True)
        ]
    images = [
        {"id": image, "file_name": f"{image}.png", "height": 480, "width": 640}
        for image in range(1, num_images + 1)
    ]
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, NUM_CLASSES + 1)]
    return {"images": images, "categories": categories, "annotations": annotations}, detections
