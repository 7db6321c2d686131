"""The results of an evaluation: pictures, and the tables and files at the end."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_context, verify_results
from detectron2.utils import comm
from torch import nn

from rock_d2.classes import class_names, places_of, renumbered, thing_classes
from rock_d2.data import RockDatasetMapper
from rock_d2.evaluation.boxes import coco_scores, known_images, prepared, read_truth
from rock_d2.evaluation.confusion import confusion_matrix
from rock_d2.evaluation.gain import gain_over, read_means
from rock_d2.evaluation.protocols import is_test_set, protocol_name, protocol_of
from rock_d2.evaluation.results import Measured, results_table, save_results
from rock_d2.tasks import build_tasks
from rock_d2.visualization import (
    confusion_chart,
    draw_comparison,
    evenly_spaced,
    precision_recall_chart,
    write_picture,
)

logger = logging.getLogger(__name__)

# As TEST.BEST_METRIC names the gain over TEST.BASELINE.
DELTA = "delta_m"


@torch.no_grad()
def draw_few(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, np.ndarray]:
    """Return predictions above the truth for a few images, always the same: uint8 (H, W, 3)."""
    mapper, pictures = RockDatasetMapper(cfg, is_train=False), {}
    records, metadata = DatasetCatalog.get(dataset_name), MetadataCatalog.get(dataset_name)
    places = places_of(class_names(cfg), thing_classes(dataset_name))
    for record in evenly_spaced(records, cfg.TEST.NUM_PICTURES):
        with inference_context(model):
            output = model([mapper(record)])[0]
        output = {key: value.to("cpu") for key, value in output.items()}
        output = renumbered(output, places)
        picture = draw_comparison(record, output, model.neck.tasks, metadata)
        pictures[f"{dataset_name}/{record['image_id']}"] = picture
    return pictures


def draw_box_charts(cfg: CfgNode, dataset_name: str) -> dict[str, np.ndarray]:
    """Draw precision over recall and the confusion matrix of the boxes that were evaluated last.

    They are written beside the boxes, and returned by their names; none without ground truth.
    """
    folder = Path(cfg.OUTPUT_DIR, "inference", dataset_name)
    file = folder / "coco_instances_results.json"
    if not (cfg.MODEL.DETECTOR and file.is_file()):
        return {}
    truth, found = read_truth(dataset_name, cache_dir=folder), json.loads(file.read_text())
    if "annotations" not in truth or not known_images(truth):
        return {}
    classes = [item["name"] for item in sorted(truth["categories"], key=lambda item: item["id"])]
    precision = coco_scores(*prepared(truth, found), backend=cfg.TEST.COCO_BACKEND)[1]
    charts = {
        # At an IoU of 0.5, of objects of any size, with 100 detections an image.
        "precision_recall": precision_recall_chart(precision[0, :, :, 0, -1], classes),
        "confusion": confusion_chart(confusion_matrix(truth, found), classes),
    }
    for name, picture in charts.items():
        write_picture(folder / f"{name}.png", picture)
    return {f"{dataset_name}/{name}": picture for name, picture in charts.items()}


def main_tasks(cfg: CfgNode) -> list[str]:
    """Return what a model is for, by the names that results have."""
    boxes = ["bbox"] if cfg.MODEL.DETECTOR else []
    return boxes + [task.name for task in build_tasks(cfg)[: len(cfg.MODEL.TASKS.MAIN)]]


def build_gain(cfg: CfgNode) -> Callable[[Mapping[str, float]], dict[str, float]] | None:
    """Return what adds the metric "delta_m" to the first test set's; None if it is not wanted.

    It refuses to choose a model by a protocol's test images.
    """
    if cfg.TEST.BEST_METRIC != DELTA:
        return None
    name, several = cfg.DATASETS.TEST[0], len(cfg.DATASETS.TEST) > 1
    protocol, baseline = protocol_of(cfg, name), read_means(cfg.TEST.BASELINE)
    if name in protocol.datasets or is_test_set(name):
        raise ValueError(
            f"TEST.BEST_METRIC: {DELTA} would choose a model by the test images {name}; name a "
            "validation split in DATASETS.TEST"
        )
    check_unseen(cfg, name)
    if cfg.TEST.BEST_MODE != "max":
        raise ValueError(f"TEST.BEST_MODE is {cfg.TEST.BEST_MODE}; {DELTA} wants max")
    measured_by, tasks = protocol_name(cfg, name), tuple(main_tasks(cfg))
    missing = gain_over(Measured(baseline.metrics, measured_by, tasks), baseline).missing
    if missing:
        raise ValueError(f"TEST.BASELINE {cfg.TEST.BASELINE}: there is no {missing[-1]}")

    def delta(results: Mapping[str, float]) -> dict[str, float]:
        prefix = f"{name}/" if several else ""
        metrics = {key.removeprefix(prefix): value for key, value in results.items()}
        found = gain_over(Measured(metrics, measured_by, tasks), baseline).delta
        return {} if found is None else {DELTA: found}

    return delta


def check_unseen(cfg: CfgNode, dataset_name: str) -> None:
    """Raise ValueError if a data set has images of the training sets."""
    of_sets = (DatasetCatalog.get(name) for name in cfg.DATASETS.TRAIN)
    trained = {record["file_name"] for records in of_sets for record in records}
    shared = sum(x["file_name"] in trained for x in DatasetCatalog.get(dataset_name))
    if shared:
        raise ValueError(
            f"TEST.BEST_METRIC: {shared} images of {dataset_name} are in DATASETS.TRAIN; train on "
            "the rest, such as nyuv2_train673 beside nyuv2_val122"
        )


def report(cfg: CfgNode, results: dict[str, Any]) -> None:
    """Log the results of all test sets, write them into OUTPUT_DIR and check the expected ones."""
    if not comm.is_main_process():
        return
    names = cfg.DATASETS.TEST
    # Detectron2 leaves the name of a single test set out.
    for name, of_set in {names[0]: results}.items() if len(names) == 1 else results.items():
        protocol = protocol_name(cfg, name)
        logger.info(f"{name}, protocol {protocol}\n\n{results_table(of_set)}\n")
        file = "results.json" if len(names) == 1 else f"results_{name}.json"
        file = f"{cfg.OUTPUT_DIR}/{file}"
        save_results(of_set, file, protocol=protocol, main=main_tasks(cfg))
    verify_results(cfg, results)
