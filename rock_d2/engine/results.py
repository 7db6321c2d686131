"""What an evaluation has found: pictures of it, and where it is told."""

import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_context
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from rock_d2.data import RockDatasetMapper
from rock_d2.evaluation.results import results_table, save_results
from rock_d2.visualization import draw_predictions, evenly_spaced

logger = logging.getLogger(__name__)


class Measured(NamedTuple):
    """What was found about a model.

    Attributes:
        results: as Detectron2's trainer gives them.
        pictures: uint8 (3, H, W) by title.
    """

    results: dict[str, Any]
    pictures: dict[str, np.ndarray]

    def metrics(self) -> dict[str, float]:
        """By ``<task>/<metric>``."""
        return flatten_results_dict(self.results)

    def show_pictures(self, storage: EventStorage) -> None:
        for title, picture in self.pictures.items():
            storage.put_image(title, picture)


def draw_few(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, np.ndarray]:
    """The predictions of a few images, always the same, for TensorBoard."""
    mapper, pictures = RockDatasetMapper(cfg, is_train=False), {}
    records, metadata = DatasetCatalog.get(dataset_name), MetadataCatalog.get(dataset_name)
    for record in evenly_spaced(records, cfg.TEST.NUM_PICTURES):
        with inference_context(model), torch.no_grad():
            output = model([mapper(record)])[0]
        output = {key: value.to("cpu") for key, value in output.items()}
        picture = draw_predictions(record, output, model.neck.tasks, metadata)
        pictures[f"{dataset_name}/{record['image_id']}"] = picture.transpose(2, 0, 1)
    return pictures


def report(cfg: CfgNode, results: dict[str, Any]) -> None:
    """Logs the results of all test sets and writes them into OUTPUT_DIR."""
    if not comm.is_main_process():
        return
    for name, of_set in by_data_set(cfg, results).items():
        logger.info(f"{name}\n\n{results_table(of_set)}\n")
        file = "results.json" if len(cfg.DATASETS.TEST) == 1 else f"results_{name}.json"
        save_results(of_set, f"{cfg.OUTPUT_DIR}/{file}")


def by_data_set(cfg: CfgNode, results: dict[str, Any]) -> dict[str, Any]:
    """Undoes what Detectron2 does for a single test set: its results stand without its name."""
    names = cfg.DATASETS.TEST
    return {names[0]: results} if len(names) == 1 else results


def summary(results: dict[str, Any]) -> str:
    """The results of a data set, a line each task, without those of single categories."""
    return "\n".join(
        f"  {task}: " + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items() if "-" not in k)
        for task, metrics in results.items()
    )
