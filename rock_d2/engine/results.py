"""The results of an evaluation: pictures, and the tables and files at the end."""

import logging
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
from rock_d2.evaluation.results import results_table, save_results
from rock_d2.visualization import draw_predictions, evenly_spaced

logger = logging.getLogger(__name__)


@torch.no_grad()
def draw_few(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, np.ndarray]:
    """Return pictures of the predictions for a few images, always the same: uint8 (3, H, W)."""
    mapper, pictures = RockDatasetMapper(cfg, is_train=False), {}
    records, metadata = DatasetCatalog.get(dataset_name), MetadataCatalog.get(dataset_name)
    places = places_of(class_names(cfg), thing_classes(dataset_name))
    for record in evenly_spaced(records, cfg.TEST.NUM_PICTURES):
        with inference_context(model):
            output = model([mapper(record)])[0]
        output = {key: value.to("cpu") for key, value in output.items()}
        picture = draw_predictions(record, renumbered(output, places), model.neck.tasks, metadata)
        pictures[f"{dataset_name}/{record['image_id']}"] = picture.transpose(2, 0, 1)
    return pictures


def report(cfg: CfgNode, results: dict[str, Any]) -> None:
    """Log the results of all test sets, write them into OUTPUT_DIR and check the expected ones."""
    if not comm.is_main_process():
        return
    names = cfg.DATASETS.TEST
    # Detectron2 leaves the name of a single test set out.
    for name, of_set in {names[0]: results}.items() if len(names) == 1 else results.items():
        logger.info(f"{name}\n\n{results_table(of_set)}\n")
        file = "results.json" if len(names) == 1 else f"results_{name}.json"
        save_results(of_set, f"{cfg.OUTPUT_DIR}/{file}")
    verify_results(cfg, results)
