"""Cityscapes (Cordts et al., CVPR 2016) with disparity: its classes and its registered splits."""

from rock_d2.data.datasets.coco import CLASSES, register_multitask_coco

THING_CLASSES = tuple(CLASSES["cityscapes"]["things"])

for split, other in (("train", "val"), ("val", "train")):
    register_multitask_coco(
        f"cityscapes_{split}",
        json_file=f"cityscapes/annotations/cityscapes_{split}.json",
        image_root="cityscapes",
        thing_classes=list(THING_CLASSES),
        disjoint_from=[f"cityscapes_{other}"],
        protocol="cityscapes_det8",
    )
