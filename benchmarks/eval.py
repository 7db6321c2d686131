"""COCO's box evaluation and what comes before it, against pycocotools and Detectron2."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

from benchmarks.timing import Goal, report, take_turns
from rock_d2.evaluation.backends import choose_backend, coco_scores
from rock_d2.evaluation.detections import Detections

ROUNDS = 3
NUM_FOUND, NUM_CLASSES = 100, 19


def run(args: argparse.Namespace) -> None:
    truth, found = made_up_set(args.images)
    detections = Detections.from_coco(found)
    fastest = choose_backend("auto")
    scorings = {
        name: partial(coco_scores, truth, detections, backend=name)
        for name in dict.fromkeys(["pycocotools", fastest])
    }
    expected, scores = scorings["pycocotools"](), scorings[fastest]()
    difference = np.abs(expected.precision - scores.precision).max()
    outputs = model_outputs(detections)
    conversions = {
        f"conversion{file}, {name}": partial(convert, *outputs, write=bool(file))
        for file in ("", " and file")
        for name, convert in (("Detectron2", detectron2_conversion), ("rock_d2", conversion))
    }
    times = take_turns(scorings | conversions, rounds=args.rounds or ROUNDS, warm_up=0)
    report(
        times,
        title=f"box evaluation, {args.images} images x {NUM_FOUND} detections, "
        f"{NUM_CLASSES} classes",
        goals=[
            Goal("hotcoco", "pycocotools", 0.05),
            Goal("conversion, rock_d2", "conversion, Detectron2", 1),
            Goal("conversion and file, rock_d2", "conversion and file, Detectron2", 1),
        ],
        columns={"largest difference": {fastest: f"{difference:.1e}"}},
        file=args.json,
    )


def model_outputs(detections: Detections) -> tuple[list[dict], list[dict]]:
    """The inputs and outputs of a model that has found these."""
    inputs, outputs = [], []
    for image_id in np.unique(detections.image_id).tolist():
        found = detections.choose(np.flatnonzero(detections.image_id == image_id))
        boxes = torch.from_numpy(found.boxes).float()
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances(
            (480, 640),
            pred_boxes=Boxes(boxes),
            scores=torch.from_numpy(found.score).float(),
            pred_classes=torch.from_numpy(found.category_id) - 1,
        )
        inputs.append({"image_id": image_id})
        outputs.append({"instances": instances})
    return inputs, outputs


def detectron2_conversion(
    inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]], *, write: bool
) -> Any:
    """What COCOEvaluator does from process() to the scoring."""
    images = [
        instances_to_coco_json(output["instances"].to("cpu"), record["image_id"])
        for record, output in zip(inputs, outputs, strict=True)
    ]
    found = list(chain(*images))
    for box in found:
        box["category_id"] += 1
    return json.dumps(found) if write else found


def conversion(
    inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]], *, write: bool
) -> Any:
    """The same of BoxEvaluator, in batches of 8."""
    found = Detections.concatenate(
        [
            Detections.from_model(inputs[i : i + 8], outputs[i : i + 8])
            for i in range(0, len(inputs), 8)
        ]
    )
    found = found._replace(category_id=found.category_id + 1)
    return found.to_json() if write else found


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
