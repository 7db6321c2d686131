#!/usr/bin/env python
"""Scores stored predictions, without a model.

    python tools/evaluate_predictions.py --dataset rooms_val \\
        --predictions output/inference/rooms_val/coco_instances_results.json \\
        --aux-dir output/inference/rooms_val

Evaluation writes both into OUTPUT_DIR/inference/<data set>: the boxes always, the auxiliary
tasks' predictions with TEST.SAVE_AUXILIARY True. Settings such as TEST.EVAL_CROP can follow as
KEY VALUE pairs.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2 import add_rock_config
from rock_d2.data.datasets.coco import read_coco_json
from rock_d2.evaluation.boxes import score_boxes
from rock_d2.evaluation.meters import load_prediction
from rock_d2.evaluation.report import results_table, save_results
from rock_d2.tasks import build_tasks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, metavar="NAME", help="its registered name")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FILE",
        help="boxes in COCO's result format",
    )
    parser.add_argument(
        "--aux-dir", type=Path, metavar="DIR", help="has a folder of .npz files for each task"
    )
    parser.add_argument("--config-file", metavar="FILE", help="settings other than the defaults")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: results.json beside the predictions"
    )
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs of the config")
    args = parser.parse_args()
    if args.dataset not in DatasetCatalog.list():
        parser.error(f"not registered: {args.dataset}")
    return args


def setup(args: argparse.Namespace) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    return cfg


def evaluate_boxes(cfg: CfgNode, dataset_name: str, file: Path) -> dict[str, float]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is not there; evaluation writes it into OUTPUT_DIR")
    try:
        detections = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON ({error}); evaluate the model anew") from None
    truth = read_coco_json(MetadataCatalog.get(dataset_name).json_file, dataset_name)
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


def main(args: argparse.Namespace) -> None:
    cfg = setup(args)
    results = {"bbox": evaluate_boxes(cfg, args.dataset, args.predictions)}
    if args.aux_dir:
        results |= evaluate_tasks(cfg, args.dataset, args.aux_dir)
    print(results_table(results))
    output = args.output or args.predictions.with_name("results.json")
    save_results(results, output)
    print(f"\nresults: {output}")


if __name__ == "__main__":
    try:
        main(parse_args())
    except (OSError, ValueError) as problem:
        sys.exit(f"evaluate_predictions: {problem}")
