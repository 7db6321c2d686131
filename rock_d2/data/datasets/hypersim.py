"""Hypersim (Roberts et al., ICCV 2021): photorealistic rooms with NYUv2's 40 classes of pixels."""

from rock_d2.data.datasets.coco import CLASSES, register_splits
from rock_d2.data.datasets.nyuv2 import STUFF_CLASSES
from rock_d2.data.datasets.nyuv2 import THING_CLASSES as NYUV2_CLASSES

# Those of NYUv2's 19 classes of objects that the 40 classes have.
THING_CLASSES = tuple(name for name in NYUV2_CLASSES if name in STUFF_CLASSES)

SCENE_CLASSES = tuple(CLASSES["hypersim"]["scenes"])

SPLITS = {"train": ["val", "test"], "val": ["train", "test"], "test": ["train", "val"]}

register_splits(
    "hypersim",
    SPLITS,
    thing_classes=THING_CLASSES,
    stuff_classes=STUFF_CLASSES,
    scene_classes=SCENE_CLASSES,
)
