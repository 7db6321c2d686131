"""Scores what a model has predicted before, from its files."""

import json
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2.data.datasets.coco import read_coco_json
from rock_d2.evaluation.boxes import score_boxes
from rock_d2.evaluation.task_evaluator import load_prediction
from rock_d2.tasks import build_tasks


def evaluate_boxes(cfg: CfgNode, dataset_name: str, file: Path) -> dict[str, float]:
    """Detection's metrics.

    Args:
        file: boxes in COCO's result format, or a folder of the demo's JSON files.
    """
    truth = read_coco_json(MetadataCatalog.get(dataset_name).json_file, dataset_name)
    detections = demo_detections(file, truth) if file.is_dir() else read_json(file)
    try:
        return score_boxes(truth, detections, backend=cfg.TEST.COCO_BACKEND)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def evaluate_tasks(cfg: CfgNode, dataset_name: str, folder: Path) -> dict[str, dict[str, float]]:
    tasks = [task for task in build_tasks(cfg) if (folder / task.name).is_dir()]
    if not tasks:
        names = ", ".join(task.name for task in build_tasks(cfg))
        raise FileNotFoundError(f"{folder}: has no folder of a task ({names})")
    results = {}
    records = DatasetCatalog.get(dataset_name)
    for task in tasks:
        evaluator = task.evaluator(crop=cfg.TEST.EVAL_CROP)
        for record in tqdm(records, desc=task.name):
            prediction = torch.from_numpy(load_prediction(folder / task.name, record))
            evaluator.process([record], [{task.name: prediction}])
        results |= evaluator.evaluate()
    return results


def demo_detections(folder: Path, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes of the demo's JSON files, which have their images' names, as COCO's results."""
    categories = {category["name"]: category["id"] for category in truth["categories"]}
    detections = []
    for image in truth["images"]:
        file = folder / f"{Path(image['file_name']).stem}.json"
        found = read_json(file)
        try:
            for box in found["instances"]:
                identity = {"image_id": image["id"], "category_id": categories[box["category"]]}
                detections.append(identity | {"bbox": box["bbox"], "score": box["score"]})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{file}: {error} is missing, or no class of the data set; it must be a file of "
                "tools/demo.py --json"
            ) from None
    return detections


def read_json(file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is not there; the model's evaluation or demo writes it")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON ({error}); evaluate the model anew") from None
