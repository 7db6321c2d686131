"""From a dataset dict to what the model takes: image, objects and the label of every task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.data.detection_utils import check_image_size
from detectron2.structures import Boxes, BoxMode, Instances

from rock_d2.data.augmentation import build_augmentations, centres_inside
from rock_d2.data.records import check_record
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task, build_tasks


class Decoded(NamedTuple):
    """What the files of a record hold, as compact as it comes.

    Attributes:
        image: uint8 (H, W, 3).
        labels: of each task by its name, as ``Task.load`` gives it.
    """

    image: np.ndarray
    labels: dict[str, Any]


class RockDatasetMapper:
    """Maps a dataset dict to a batch item.

    An item is the dataset dict with ``image`` and, in training, ``instances`` in place of its
    annotations and each task's label that the image has. The labels' files stay in it, where
    evaluators find them.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        tasks: Sequence[Task],
        augmentations: Sequence[T.Augmentation],
        image_format: str,
    ):
        """
        Args:
            is_train: whether labels are mapped too.
            tasks: the auxiliary tasks whose labels are carried along.
            augmentations: what happens to the image, in this order.
            image_format: "BGR" or "RGB", the model's channel order.
        """
        self.is_train = is_train
        self.tasks = tasks
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "tasks": build_tasks(cfg),
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return self.augment(record, self.decode(record))

    def decode(self, record: Mapping[str, Any]) -> Decoded:
        """All that is read of a record's files."""
        check_record(record)
        rgb = self.image_format == "RGB"
        image = read_color_image(record["file_name"], rgb=rgb, field="file_name")
        tasks = self.tasks if self.is_train else ()
        return Decoded(image, {task.name: task.load(record) for task in tasks})

    def augment(self, record: Mapping[str, Any], decoded: Decoded) -> dict[str, Any]:
        """The batch item, by NumPy's random numbers; leaves ``decoded`` as it is."""
        item = dict(record)
        check_image_size(item, decoded.image)
        view = T.AugInput(decoded.image)
        transforms = self._transform(item, view)
        item["image"] = torch.from_numpy(np.ascontiguousarray(view.image.transpose(2, 0, 1)))
        if self.is_train:
            item |= self._labels(decoded.labels, transforms)
        return item

    def _transform(self, item: dict[str, Any], view: T.AugInput) -> T.TransformList:
        """Draws transforms and applies them to the view; annotations become instances."""
        objects = [a for a in item.pop("annotations", ()) if not a.get("iscrowd", 0)]
        view.boxes = boxes_of(objects)
        transforms = self.augmentations(view)
        if self.is_train:
            item["instances"] = instances_in_view(objects, view)
        return transforms

    def _labels(self, labels: Mapping[str, Any], transforms: T.TransformList) -> dict[str, Any]:
        return {
            task.name: task.to_tensor(task.transform(labels[task.name], transforms))
            for task in self.tasks
            if labels[task.name] is not None
        }


def boxes_of(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """float64 (M, 4), x0 y0 x1 y1."""
    boxes = np.array([o["bbox"] for o in objects], dtype=np.float64).reshape(-1, 4)
    modes = np.array([o["bbox_mode"] for o in objects])
    for mode in {o["bbox_mode"] for o in objects}:
        rows = modes == mode
        boxes[rows] = BoxMode.convert(boxes[rows], mode, BoxMode.XYXY_ABS)
    return boxes


def instances_in_view(objects: Sequence[Mapping[str, Any]], view: T.AugInput) -> Instances:
    """The objects whose centre the augmented image still holds (SSD, sec. 2.2), clipped to it."""
    height, width = view.image.shape[:2]
    kept = centres_inside(np.array([[0, 0, width, height]]), view.boxes)[0]
    classes = np.array([o["category_id"] for o in objects], dtype=np.int64)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.from_numpy(view.boxes[kept].astype(np.float32)))
    instances.gt_boxes.clip((height, width))
    instances.gt_classes = torch.from_numpy(classes[kept])
    return instances[instances.gt_boxes.nonempty()]
