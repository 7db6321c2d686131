"""From a dataset dict to the model's input: image, objects and the label of every task."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Instances
from pycocotools import mask as coco_mask

from rock_d2.data.augmentation import build_augmentations, centres_inside
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task, build_tasks

MASK_FORMATS = ("polygon", "bitmask")
BOX_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


class Decoded(NamedTuple):
    """The content of a dataset dict's files.

    Attributes:
        image: uint8 (H, W, 3).
        labels: of each task by its name, as ``Task.load`` gives it.
    """

    image: np.ndarray
    labels: dict[str, Any]


class RockDatasetMapper:
    """Maps a dataset dict to a batch item.

    An item is the dataset dict with ``image`` and, in training, ``instances`` in place of its
    annotations and each task's label that the image has. The labels' file names stay in it, where
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
        use_masks: bool = False,
        mask_format: str = "polygon",
        use_keypoints: bool = False,
        keypoint_hflip_indices: Sequence[int] | None = None,
        centre_rule: bool = False,
        recompute_boxes: bool = False,
    ):
        """
        Args:
            is_train: whether labels are mapped too.
            tasks: the tasks whose labels are read.
            augmentations: of the image, in this order.
            image_format: "BGR" or "RGB", the model's channel order.
            use_masks: whether instances have ``gt_masks``.
            mask_format: "polygon" or "bitmask".
            use_keypoints: whether instances have ``gt_keypoints``.
            keypoint_hflip_indices: what each keypoint becomes in a mirror.
            centre_rule: whether objects are dropped whose centre is outside of the augmented image
                (SSD, sec. 2.2).
            recompute_boxes: whether boxes are the extents of the augmented masks.
        """
        if image_format not in ("BGR", "RGB"):
            raise ValueError(f"INPUT.FORMAT is {image_format!r}; it must be BGR or RGB")
        if mask_format not in MASK_FORMATS:
            raise ValueError(f"INPUT.MASK_FORMAT is {mask_format!r}, none of {MASK_FORMATS}")
        self.is_train = is_train
        self.tasks = tasks
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_masks = use_masks
        self.mask_format = mask_format
        self.use_keypoints = use_keypoints
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.centre_rule = centre_rule
        self.recompute_boxes = recompute_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        crops = cfg.INPUT.MIN_IOU_CROP.ENABLED or cfg.INPUT.CROP.ENABLED
        use_masks = is_train and cfg.MODEL.MASK_ON
        if use_masks and crops and cfg.INPUT.MASK_FORMAT == "polygon" and not find_spec("shapely"):
            raise ImportError(
                "INPUT.MASK_FORMAT polygon with INPUT.MIN_IOU_CROP or INPUT.CROP needs shapely: "
                "pip install shapely, or set INPUT.MASK_FORMAT bitmask"
            )
        indices = None
        if is_train and cfg.MODEL.KEYPOINT_ON:
            indices = keypoint_hflip_indices(cfg.DATASETS.TRAIN)
        return {
            "is_train": is_train,
            "tasks": build_tasks(cfg),
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "use_masks": use_masks,
            "mask_format": cfg.INPUT.MASK_FORMAT,
            "use_keypoints": is_train and cfg.MODEL.KEYPOINT_ON,
            "keypoint_hflip_indices": indices,
            "centre_rule": cfg.INPUT.MIN_IOU_CROP.ENABLED,
            "recompute_boxes": use_masks and crops,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return self.augment(record, self.decode(record))

    def decode(self, record: Mapping[str, Any]) -> Decoded:
        """Return everything that is read of a dataset dict's files."""
        check_record(record)
        rgb = self.image_format == "RGB"
        image = read_color_image(record["file_name"], rgb=rgb, field="file_name")
        tasks = self.tasks if self.is_train else ()
        return Decoded(image, {task.name: task.load(record) for task in tasks})

    def augment(self, record: Mapping[str, Any], decoded: Decoded) -> dict[str, Any]:
        """Return the batch item, by NumPy's random numbers; leaves ``decoded`` as it is."""
        item = dict(record)
        detection_utils.check_image_size(item, decoded.image)
        objects = [a for a in item.pop("annotations", ()) if not a.get("iscrowd", 0)]
        view = T.AugInput(decoded.image, boxes=boxes_of(objects))
        transforms = self.augmentations(view)
        item["image"] = torch.from_numpy(np.ascontiguousarray(view.image.transpose(2, 0, 1)))
        if not self.is_train:
            return item
        if self.centre_rule:
            height, width = view.image.shape[:2]
            inside = centres_inside(np.array([[0, 0, width, height]]), view.boxes)[0]
            objects = [found for found, kept in zip(objects, inside, strict=True) if kept]
        try:
            item["instances"] = self._instances(objects, transforms, decoded, view.image.shape[:2])
        except ValueError as problem:
            raise ValueError(f"{record['file_name']}: {problem}") from None
        for task in self.tasks:
            label = decoded.labels[task.name]
            if label is not None:
                item[task.name] = task.to_tensor(task.transform(label, transforms))
        return item

    def _instances(
        self,
        objects: Sequence[Mapping[str, Any]],
        transforms: T.TransformList,
        decoded: Decoded,
        size: tuple[int, int],
    ) -> Instances:
        """Return the objects in the augmented image of a size (height, width), by Detectron2."""
        objects = [self._wanted_fields(found, decoded.image.shape[:2]) for found in objects]
        objects = [
            detection_utils.transform_instance_annotations(
                found, transforms, size, keypoint_hflip_indices=self.keypoint_hflip_indices
            )
            for found in objects
        ]
        instances = detection_utils.annotations_to_instances(
            objects, size, mask_format=self.mask_format
        )
        if self.recompute_boxes and len(instances):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return detection_utils.filter_empty_instances(instances)

    def _wanted_fields(self, found: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """Return the fields of an object that the settings ask for, masks in their format."""
        names = ["bbox", "bbox_mode", "category_id"]
        names += ["segmentation"] * self.use_masks + ["keypoints"] * self.use_keypoints
        for name in names:
            if name not in found:
                raise ValueError(
                    f"an object has no `{name}`, which MODEL.MASK_ON or KEYPOINT_ON needs"
                )
        wanted = {name: found[name] for name in names}
        mask = wanted.get("segmentation")
        if isinstance(mask, list) and self.mask_format == "bitmask":
            wanted["segmentation"] = coco_mask.merge(coco_mask.frPyObjects(mask, *size))
        elif isinstance(mask, list):
            wanted["segmentation"] = [np.asarray(polygon, np.float64) for polygon in mask]
        elif mask is not None and self.mask_format == "polygon":
            raise ValueError("a mask is no polygon; set INPUT.MASK_FORMAT bitmask")
        return wanted


def keypoint_hflip_indices(names: Sequence[str]) -> list[int]:
    """Return Detectron2's indices, or a ValueError that names what a data set lacks."""
    for name in names:
        for fact in ("keypoint_names", "keypoint_flip_map"):
            if MetadataCatalog.get(name).get(fact) is None:
                raise ValueError(
                    f"MODEL.KEYPOINT_ON: data set `{name}` has no {fact}; give it when the set is "
                    "registered"
                )
    return detection_utils.create_keypoint_hflip_indices(list(names))


def boxes_of(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return float64 (M, 4), x0 y0 x1 y1."""
    boxes = [BoxMode.convert(list(o["bbox"]), o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError, naming image and field, if a dataset dict is not as Detectron2 has it."""
    file = record.get("file_name") if isinstance(record.get("file_name"), str) else "a dataset dict"
    for field in {"file_name", *(name for name in record if name.endswith("_file_name"))}:
        name = record.get(field)
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(f"{file}: `{field}` is {reprlib.repr(name)}, not a file's name")
    sides = [record[side] for side in ("height", "width") if side in record]
    if len(sides) == 1 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{file}: `height` and `width` are {reprlib.repr(sides)}, not two sizes")
    objects = record.get("annotations", ())
    if not isinstance(objects, list | tuple):
        raise ValueError(f"{file}: `annotations` is {reprlib.repr(objects)}, not a list")
    for number, found in enumerate(objects):
        problem = _object_problem(found)
        if problem:
            raise ValueError(f"{file}: `annotations` number {number}: {problem}")


def _object_problem(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"is {reprlib.repr(found)}, not a dict"
    kind, mode, box = (found.get(key) for key in ("category_id", "bbox_mode", "bbox"))
    if type(kind) is not int or kind < 0:
        return f"`category_id` is {reprlib.repr(kind)}; it must be an int from 0 on"
    if not isinstance(mode, int) or mode not in BOX_MODES:
        return f"`bbox_mode` is {reprlib.repr(mode)}; it must be BoxMode.XYXY_ABS or XYWH_ABS"
    if found.get("iscrowd", 0) not in (0, 1):
        return f"`iscrowd` is {reprlib.repr(found['iscrowd'])}; it must be 0 or 1"
    try:
        if len(box) == 4 and all(map(math.isfinite, box)):
            return ""
    except (TypeError, OverflowError):
        pass
    return f"`bbox` is {reprlib.repr(box)}, not four finite numbers"
