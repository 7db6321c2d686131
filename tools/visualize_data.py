#!/usr/bin/env python
r"""Draws a data set: objects, and the label of every task.

    python tools/visualize_data.py --dataset rooms_train --num-images 16
    python tools/visualize_data.py --source dataloader \
        --config-file configs/rock/rock_rooms.yaml SEED 1

`annotation` is the ground truth as it lies on disk, evenly spaced over the set; `dataloader` the
first images of a training, after augmentation and at the model's size. Settings can follow as
KEY VALUE pairs.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contact_sheet import write_pictures
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from tqdm import tqdm

from rock_d2.classes import class_names, places_of, thing_classes
from rock_d2.config import load_config
from rock_d2.data import build_train_loader
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import read_color_image
from rock_d2.tasks import TASK_REGISTRY, Task, build_tasks
from rock_d2.tasks.base import Drawing
from rock_d2.visualization import (
    evenly_spaced,
    label_drawings,
    merge_captions,
    object_drawing,
    panel_row,
    record_drawing,
)


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    source = "the labels on the disk, or what the model gets in training (default: %(default)s)"
    add("--source", choices=SOURCES, default="annotation", help=source)
    config = "yaml file with the augmentation and the tasks (default: %(default)s)"
    add("--config-file", default="rock/rock_rooms.yaml", metavar="FILE", help=config)
    dataset = "registered name of the data set (default: the first of the config's DATASETS.TRAIN)"
    add("--dataset", metavar="NAME", help=dataset)
    output = "folder that the pictures are written to (default: %(default)s)"
    add("--output-dir", type=Path, default="output/visualize_data", metavar="DIR", help=output)
    count = "images that are drawn (default: %(default)s)"
    add("--num-images", type=int, default=16, metavar="N", help=count)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as INPUT.SIZE '[240, 320]'")
    return parser


def draw_record(record: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata) -> np.ndarray:
    """Draw a dataset dict as one row of panels: the objects, then each task's map.

    Returns:
        uint8 (H, W, 3), RGB. Labels that are not maps stand in the first panel's caption.
    """
    image = read_color_image(record["file_name"])
    labels = {task: task.read(record) for task in tasks}
    drawings = [record_drawing(image, record, metadata), *label_drawings(labels, metadata)]
    return panel_row(image, merge_captions(drawings))


def draw_item(
    item: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata, *, image_format: str
) -> np.ndarray:
    """Draw a training item of RockDatasetMapper as ``draw_record`` draws dataset dicts.

    Args:
        item: as the model gets it.
        tasks, metadata: of the data set.
        image_format: "RGB" or "BGR", the order of the item's channels.
    """
    image = np.moveaxis(item["image"].numpy(), 0, 2)
    image = np.ascontiguousarray(image if image_format == "RGB" else image[..., ::-1])
    labels = {task: item.get(task.name) for task in tasks}
    for task, label in labels.items():
        if isinstance(label, torch.Tensor):
            labels[task] = task.as_values(label.numpy())
    drawn = Drawing("boxes unknown", image)
    if "instances" in item:
        objects = item["instances"]
        masks = objects.gt_masks if objects.has("gt_masks") else None
        boxes, classes = objects.gt_boxes.tensor.numpy(), objects.gt_classes.tolist()
        drawn = object_drawing(image, boxes, classes, metadata, masks=masks)
    return panel_row(image, merge_captions([drawn, *label_drawings(labels, metadata)]))


def annotation_pictures(cfg: CfgNode, num_images: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and pictures of dataset dicts, with the labels of all registered tasks."""
    dataset = cfg.DATASETS.TRAIN[0]
    records, metadata = DatasetCatalog.get(dataset), MetadataCatalog.get(dataset)
    tasks = [
        task.from_config(cfg.MODEL.TASKS).for_data(metadata)
        for _, task in TASK_REGISTRY
        if any(task.field in record for record in records)
    ]
    for record in tqdm(evenly_spaced(records, num_images), desc="drawing"):
        picture = draw_record(record, tasks, metadata)
        yield f"{dataset}_{Path(record['file_name']).stem}", picture


def dataloader_pictures(cfg: CfgNode, num_images: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names, with the place in the loader, and pictures, with the config's tasks."""
    cfg.DATALOADER.NUM_WORKERS = 0
    dataset = cfg.DATASETS.TRAIN[0]
    tasks = build_tasks(cfg)
    items = (item for batch in build_train_loader(cfg) for item in batch)
    for i, item in enumerate(tqdm(islice(items, num_images), total=num_images, desc="drawing")):
        metadata = with_class_names(dataset, class_names(cfg))
        picture = draw_item(item, tasks, metadata, image_format=cfg.INPUT.FORMAT)
        yield f"{dataset}_{i:04d}_{Path(item['file_name']).stem}", picture


def with_class_names(name: str, classes: Sequence[str]) -> Metadata:
    """Return the facts of a data set, with the detector's classes in place of its own."""
    metadata = MetadataCatalog.get(name)
    if places_of(classes, thing_classes(name)) is None:
        return metadata
    facts = {key: x for key, x in metadata.as_dict().items() if key not in ("files", "name")}
    return Metadata(name=name, **facts | {"thing_classes": list(classes)})


SOURCES = {"annotation": annotation_pictures, "dataloader": dataloader_pictures}


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.opts)
    if args.dataset:
        cfg.DATASETS.TRAIN = (args.dataset,)
    check_registered(cfg.DATASETS.TRAIN, "--dataset" if args.dataset else "DATASETS.TRAIN")
    dataset, folder = cfg.DATASETS.TRAIN[0], args.output_dir
    pictures = SOURCES[args.source](cfg, args.num_images)
    count = write_pictures(pictures, folder)
    print(f"{count} images of {dataset} drawn in {folder}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
