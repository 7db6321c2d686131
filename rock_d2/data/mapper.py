"""From a dataset dict to the model's input: image, objects and the label of every task."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Instances
from pycocotools import mask as coco_mask

from rock_d2.data.augmentation import build_augmentations, centres_inside
from rock_d2.image_files import read_color_image
from rock_d2.registry import check_choice
from rock_d2.tasks import Task, build_tasks


class Decoded(NamedTuple):
    """The content of a dataset dict's files.

    Attributes:
        image: uint8 (H, W, 3).
        labels: of each task by its name, as ``Task.load`` gives it.
    """

    image: np.ndarray
    labels: dict[str, Any]


class RockDatasetMapper(DatasetMapper):
    """Detectron2's mapper with the labels of tasks, in two steps: files, and augmentation.

    An item is the dataset dict with ``image``, each task's label that the image has and, in
    training, ``instances`` in place of its annotations, if it has any (an empty list is no object,
    none at all are unknown boxes). The labels' file names stay in it, where evaluators find them.
    """

    @configurable
    def __init__(self, *, tasks: Sequence[Task], centre_rule: bool = False, **settings: Any):
        """Read the labels of ``tasks``, by the config at test time those that are given.

        With ``centre_rule``, objects whose centre is outside of the augmented image are dropped
        (SSD, sec. 2.2). ``settings`` are those of Detectron2's mapper.
        """
        super().__init__(**settings)
        check_choice(self.image_format, ("BGR", "RGB"), setting="INPUT.FORMAT")
        formats = ("polygon", "bitmask")
        check_choice(self.instance_mask_format, formats, setting="INPUT.MASK_FORMAT")
        self.tasks = tasks
        self.centre_rule = centre_rule

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        try:
            settings = super().from_config(cfg, is_train)
        except AttributeError as problem:
            raise ValueError(f"MODEL.KEYPOINT_ON: {problem}") from None
        crops = cfg.INPUT.MIN_IOU_CROP.ENABLED or cfg.INPUT.CROP.ENABLED
        masks = is_train and cfg.MODEL.MASK_ON
        if masks and crops and cfg.INPUT.MASK_FORMAT == "polygon" and not find_spec("shapely"):
            raise ImportError(
                "INPUT.MASK_FORMAT polygon with INPUT.MIN_IOU_CROP or INPUT.CROP needs shapely: "
                "pip install shapely, or set INPUT.MASK_FORMAT bitmask"
            )
        tasks = build_tasks(cfg)
        if not is_train:
            tasks = tuple(task for task in tasks if type(task).__name__ in cfg.MODEL.ROCK.GIVEN)
        return settings | {
            "augmentations": build_augmentations(cfg, is_train),
            "recompute_boxes": masks and crops,
            "tasks": tasks,
            "centre_rule": cfg.INPUT.MIN_IOU_CROP.ENABLED,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        return self.augment(dataset_dict, self.decode(dataset_dict))

    def decode(self, dataset_dict: Mapping[str, Any]) -> Decoded:
        rgb = self.image_format == "RGB"
        image = read_color_image(dataset_dict["file_name"], rgb=rgb, field="file_name")
        return Decoded(image, {task.name: task.load(dataset_dict) for task in self.tasks})

    def augment(self, dataset_dict: Mapping[str, Any], decoded: Decoded) -> dict[str, Any]:
        """Return the batch item, by NumPy's random numbers; leaves ``decoded`` as it is."""
        item, known = dict(dataset_dict), "annotations" in dataset_dict
        detection_utils.check_image_size(item, decoded.image)
        objects = [a for a in item.pop("annotations", ()) if not a.get("iscrowd", 0)]
        view = T.AugInput(decoded.image, boxes=boxes_of(objects))
        transforms = self.augmentations(view)
        item["image"] = torch.from_numpy(np.ascontiguousarray(view.image.transpose(2, 0, 1)))
        for task in self.tasks:
            # A field of a data set that happens to have the task's name is no label.
            item.pop(task.name, None)
            label = decoded.labels[task.name]
            if label is not None:
                item[task.name] = task.to_tensor(task.transform(label, transforms))
        if not self.is_train:
            return item
        height, width = view.image.shape[:2]
        if self.centre_rule:
            inside = centres_inside(np.array([[0, 0, width, height]]), view.boxes)[0]
            objects = [found for found, kept in zip(objects, inside, strict=True) if kept]
        try:
            objects = [self._wanted_fields(found, decoded.image.shape[:2]) for found in objects]
        except ValueError as problem:
            raise ValueError(f"{dataset_dict['file_name']}: {problem}") from None
        if known:
            item["instances"] = self._instances(objects, transforms, (height, width))
        return item

    def _wanted_fields(self, found: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """Return the fields of an object that the settings ask for, masks in their format."""
        names = ["bbox", "bbox_mode", "category_id"]
        names += ["segmentation"] * self.use_instance_mask + ["keypoints"] * self.use_keypoint
        if absent := set(names) - found.keys():
            names = "`, `".join(sorted(absent))
            raise ValueError(
                f"an object has no `{names}`, which MODEL.MASK_ON or KEYPOINT_ON needs"
            )
        wanted = {name: found[name] for name in names}
        mask = wanted.get("segmentation")
        if isinstance(mask, list) and self.instance_mask_format == "bitmask":
            wanted["segmentation"] = coco_mask.merge(coco_mask.frPyObjects(mask, *size))
        elif isinstance(mask, list):
            wanted["segmentation"] = [np.asarray(polygon, np.float64) for polygon in mask]
        elif mask is not None and self.instance_mask_format == "polygon":
            raise ValueError("a mask is no polygon; set INPUT.MASK_FORMAT bitmask")
        return wanted

    def _instances(
        self, objects: Sequence[dict[str, Any]], transforms: T.TransformList, size: tuple[int, int]
    ) -> Instances:
        objects = [
            detection_utils.transform_instance_annotations(
                found, transforms, size, keypoint_hflip_indices=self.keypoint_hflip_indices
            )
            for found in objects
        ]
        instances = detection_utils.annotations_to_instances(
            objects, size, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and len(instances):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return detection_utils.filter_empty_instances(instances)


def boxes_of(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return float64 (M, 4), x0 y0 x1 y1."""
    boxes = [BoxMode.convert(list(o["bbox"]), o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
