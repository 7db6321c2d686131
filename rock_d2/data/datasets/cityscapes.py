"""Cityscapes (Cordts et al., CVPR 2016) with disparity: its classes and its registered splits."""

from rock_d2.data.datasets.coco import CLASSES, register_splits

THING_CLASSES = tuple(CLASSES["cityscapes"]["things"])

register_splits(
    "cityscapes",
    {"train": ["val"], "val": ["train"]},
    thing_classes=THING_CLASSES,
    protocol="cityscapes_det8",
)
