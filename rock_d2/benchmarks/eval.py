"""COCO's box evaluation by each library that is installed, against pycocotools."""

import argparse
from functools import partial

import numpy as np

from rock_d2.benchmarks.timing import Goal, report, take_turns
from rock_d2.evaluation.backends import choose_backend, coco_scores

ROUNDS = 3
NUM_FOUND, NUM_CLASSES = 100, 19


def run(args: argparse.Namespace) -> None:
    truth, detections = made_up_set(args.images)
    fastest = choose_backend("auto")
    candidates = {
        name: partial(coco_scores, truth, detections, backend=name)
        for name in dict.fromkeys(["pycocotools", fastest])
    }
    expected, found = candidates["pycocotools"](), candidates[fastest]()
    difference = np.abs(expected.precision - found.precision).max()
    times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=0)
    report(
        times,
        title=f"box evaluation, {args.images} images x {NUM_FOUND} detections, "
        f"{NUM_CLASSES} classes",
        goals=[Goal("hotcoco", "pycocotools", 0.05)],
        columns={"largest difference": {fastest: f"{difference:.1e}"}},
        file=args.json,
    )


def made_up_set(num_images: int) -> tuple[dict, list[dict]]:
    """A COCO document of 1 to 20 objects an image, and noisy copies of them as detections."""
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for image in range(1, num_images + 1):
        sides = np.exp(rng.uniform(np.log(8), np.log(300), (rng.integers(1, 21), 2)))
        boxes = np.hstack([rng.uniform(0, 300, sides.shape), sides])
        classes = rng.integers(1, NUM_CLASSES + 1, len(boxes))
        for box, number in zip(boxes.tolist(), classes.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": number,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        copied = rng.integers(len(boxes), size=NUM_FOUND)
        noisy = boxes[copied] + rng.normal(0, 0.1, (NUM_FOUND, 4)) * np.tile(sides[copied], 2)
        scores = rng.random(NUM_FOUND).tolist()
        names = np.where(
            rng.random(NUM_FOUND) < 0.8,
            classes[copied],
            rng.integers(1, NUM_CLASSES + 1, NUM_FOUND),
        )
        found = zip(noisy.tolist(), names.tolist(), scores, strict=True)
        detections += [
            {"image_id": image, "category_id": number, "bbox": box, "score": score}
            for box, number, score in found
        ]
    images = [
        {"id": image, "file_name": f"{image}.png", "height": 480, "width": 640}
        for image in range(1, num_images + 1)
    ]
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, NUM_CLASSES + 1)]
    return {"images": images, "categories": categories, "annotations": annotations}, detections
