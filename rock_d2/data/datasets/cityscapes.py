"""Cityscapes (Cordts et al., CVPR 2016) with disparity: its classes and its registered splits."""

from rock_d2.data.datasets.coco import register_multitask_coco

# The eight classes with instances, in the order of Cityscapes' own label ids.
THING_CLASSES = (
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)

for split, other in (("train", "val"), ("val", "train")):
    register_multitask_coco(
        f"cityscapes_{split}",
        json_file=f"cityscapes/annotations/cityscapes_{split}.json",
        image_root="cityscapes",
        thing_classes=list(THING_CLASSES),
        disjoint_from=[f"cityscapes_{other}"],
        protocol="cityscapes_det8",
    )
