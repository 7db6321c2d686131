#!/usr/bin/env python
r"""Scores stored predictions, without a model.

    python tools/evaluate_predictions.py --dataset rooms_val \
        --predictions output/inference/rooms_val/coco_instances_results.json \
        --aux-dir output/inference/rooms_val

Evaluation writes both into OUTPUT_DIR/inference/<data set>: a detector's boxes always, the tasks'
predictions with TEST.SAVE_AUXILIARY True; either may be left out here. Settings such as
TEST.EVAL_CROP can follow as KEY VALUE pairs.

A folder that `tools/demo.py --json --confidence-threshold 0` has filled is scored too: its files
have the names of the images. It holds no tasks' predictions in this form.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from rock_d2.config import add_rock_config, load_config
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.engine.results import main_tasks
from rock_d2.evaluation.boxes import category_ids, read_truth, score_boxes
from rock_d2.evaluation.build import measurable
from rock_d2.evaluation.protocols import protocol_of
from rock_d2.evaluation.results import results_table, save_results
from rock_d2.evaluation.task_evaluator import TaskEvaluator, measured_ids
from rock_d2.tasks import TASK_REGISTRY, build_tasks


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    dataset = "registered name of the data set with the ground truth"
    add("--dataset", required=True, metavar="NAME", help=dataset)
    add(
        "--predictions",
        type=Path,
        metavar="PATH",
        help="JSON file of boxes in COCO's result format, or the folder that demo.py --json filled",
    )
    tasks = "folder with a folder of .npz files for each task; without it boxes alone are scored"
    add("--aux-dir", type=Path, metavar="DIR", help=tasks)
    config = "yaml file of the tasks and of TEST.*, where they are not the defaults"
    add("--config-file", metavar="FILE", help=config)
    output = "the file for the results (default: results.json in the folder of the predictions)"
    add("--output", type=Path, metavar="FILE", help=output)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as TEST.EVAL_CROP eigen")
    return parser


def folder_of(predictions: Path) -> Path:
    return predictions if predictions.is_dir() else predictions.parent


def evaluate_boxes(cfg: CfgNode, dataset_name: str, file: Path) -> dict[str, float]:
    """Return detection's metrics of COCO's results, or of a folder of the demo's JSON files."""
    truth = read_truth(dataset_name, cache_dir=folder_of(file))
    found = demo_detections(file, truth) if file.is_dir() else read_json(file)
    try:
        check_detections(truth, found)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return score_boxes(truth, found, backend=cfg.TEST.COCO_BACKEND)


def check_detections(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for detections that no evaluation can count."""
    images, categories = {image["id"] for image in truth["images"]}, set(category_ids(truth))
    for detection in found:
        try:
            x, y, width, height = map(float, detection["bbox"])
            score = float(detection["score"])
            is_known = detection["image_id"] in images and detection["category_id"] in categories
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "not COCO's result format, a list of objects with image_id, category_id, bbox "
                f"(four numbers) and score: {error!r}"
            ) from None
        if not is_known:
            raise ValueError(f"the data set has no such image_id or category_id: {detection}")
        if min(width, height) < 0 or not math.isfinite(x + y + width + height + score):
            raise ValueError(f"no box x, y, width, height in pixels with a score: {detection}")


def evaluate_tasks(cfg: CfgNode, dataset_name: str, folder: Path) -> dict[str, dict[str, float]]:
    tasks = [task for task in measurable(cfg, dataset_name) if (folder / task.name).is_dir()]
    known = {task.name for _, task in TASK_REGISTRY} - {task.name for task in build_tasks(cfg)}
    if others := sorted(name for name in known if (folder / name).is_dir()):
        raise ValueError(
            f"{folder} has predictions of {', '.join(others)}, which are not among the config's "
            "tasks; name the model's --config-file"
        )
    if not tasks:
        names = ", ".join(task.name for task in build_tasks(cfg))
        raise FileNotFoundError(f"{folder}: has no folder of a task ({names})")
    results = {}
    records = DatasetCatalog.get(dataset_name)
    protocol = protocol_of(cfg, dataset_name)
    for task in tasks:
        ids = measured_ids(task, dataset_name)
        evaluator = TaskEvaluator(task, protocol=protocol)
        for record in tqdm(records, desc=task.name):
            if ids is not None and record["image_id"] not in ids:
                continue
            prediction = torch.from_numpy(load_prediction(folder / task.name, record))
            evaluator.process([record], [{task.name: prediction}])
        results |= evaluator.evaluate()
    return results


def load_prediction(folder: Path, record: Mapping[str, Any]) -> np.ndarray:
    """Return an image's prediction as TaskEvaluator has stored it."""
    path = folder / f"{record['image_id']}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no prediction of {record['file_name']}; TEST.SAVE_AUXILIARY True keeps all"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["prediction"].astype(np.float32, casting="same_kind")
    # NumPy has no error of its own for a damaged file: it raises those of zipfile, zlib and others.
    except Exception as problem:
        raise ValueError(
            f"{path}: damaged, or no prediction ({problem}); evaluate the model again"
        ) from None


def demo_detections(folder: Path, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the boxes of the demo's JSON files, which have their images' names, as COCO's."""
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
        raise ValueError(f"{file}: is no JSON ({error}); evaluate the model again") from None


def main(args: argparse.Namespace) -> None:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg = load_config(args.config_file or cfg, args.opts)
    check_registered([args.dataset], "--dataset")
    cfg.DATASETS.TEST = (args.dataset,)
    boxes = args.predictions
    if not (boxes or args.aux_dir):
        raise ValueError("--predictions, --aux-dir: one of them must name what is scored")
    output = args.output or (folder_of(boxes) if boxes else args.aux_dir) / "results.json"
    if boxes and output.resolve() == boxes.resolve():
        raise ValueError(f"--output {output} is --predictions itself; choose another file")
    results = {"bbox": evaluate_boxes(cfg, args.dataset, boxes)} if boxes else {}
    if args.aux_dir:
        results |= evaluate_tasks(cfg, args.dataset, args.aux_dir)
    protocol = protocol_of(cfg, args.dataset)
    name = protocol.on(args.dataset, len(DatasetCatalog.get(args.dataset)))
    print(f"protocol: {name}\n\n{results_table(results)}")
    main = [task for task in main_tasks(cfg) if task in results]
    save_results(results, output, protocol=name, main=main)
    print(f"\nresults: {output}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
