"""From a dataset dict to what the model takes: image, objects and the label of every task."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.data.detection_utils import check_image_size
from detectron2.structures import Boxes, BoxMode, Instances

from rock_d2.data.augmentation import build_augmentations, centres_inside
from rock_d2.tasks import AuxTask, build_tasks


class RockDatasetMapper:
    """Maps a dataset dict to a batch item.

    In training an item has ``image``, ``instances`` and each task's label that the image has. At
    test time it has ``image`` and all of the dataset dict but the annotations, so that evaluators
    find the labels' files.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        tasks: Sequence[AuxTask],
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
        item = dict(record)
        image = read_color_image(record["file_name"], rgb=self.image_format == "RGB")
        check_image_size(item, image)
        objects = [a for a in item.pop("annotations", ()) if not a.get("iscrowd", 0)]
        aug_input = T.AugInput(image, boxes=boxes_of(objects))
        transforms = self.augmentations(aug_input)
        item["image"] = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        if self.is_train:
            item["instances"] = instances_in_view(objects, aug_input)
            item |= self._labels(record, transforms)
        return item

    def _labels(self, record: Mapping[str, Any], transforms: T.TransformList) -> dict[str, Any]:
        labels = {task: task.load(record) for task in self.tasks}
        return {
            task.name: task.to_tensor(task.transform(label, transforms))
            for task, label in labels.items()
            if label is not None
        }


def read_color_image(path: str, *, rgb: bool) -> np.ndarray:
    """uint8 (H, W, 3), turned upright by its EXIF tag."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: named by `file_name`, is missing or no image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if rgb else image


def boxes_of(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """float64 (M, 4), x0 y0 x1 y1."""
    boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


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
