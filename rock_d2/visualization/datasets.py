"""Pictures of a whole data set, from its files or from the loader of a training."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2.data import build_train_loader
from rock_d2.tasks import TASK_REGISTRY, build_tasks
from rock_d2.visualization.drawings import draw_item, draw_record
from rock_d2.visualization.panels import evenly_spaced


def annotation_pictures(cfg: CfgNode, num_images: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pictures of the first set in DATASETS.TRAIN, with the labels of all tasks."""
    dataset = cfg.DATASETS.TRAIN[0]
    tasks = [task.from_config(cfg.MODEL.ROCK) for _, task in TASK_REGISTRY]
    records = evenly_spaced(DatasetCatalog.get(dataset), num_images)
    for record in tqdm(records, desc="drawing"):
        picture = draw_record(record, tasks, MetadataCatalog.get(dataset))
        yield f"{dataset}_{Path(record['file_name']).stem}", picture


def dataloader_pictures(cfg: CfgNode, num_images: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names, which tell the place in the loader too, and pictures, with the config's tasks."""
    # In this process, and drawn with NumPy.
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.AUGMENT_ON = 0, "host"
    dataset = cfg.DATASETS.TRAIN[0]
    tasks = build_tasks(cfg)
    items = (item for batch in build_train_loader(cfg) for item in batch)
    for i, item in enumerate(tqdm(islice(items, num_images), total=num_images, desc="drawing")):
        rgb = cfg.INPUT.FORMAT == "RGB"
        picture = draw_item(item, tasks, MetadataCatalog.get(dataset), rgb=rgb)
        yield f"{dataset}_{i:04d}_{Path(item['file_name']).stem}", picture
