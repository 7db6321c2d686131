"""PASCAL-Context for several tasks (Maninis et al., CVPR 2019): images of VOC 2010.

datasets/prepare_pascal.py writes the files; an image may lack any of the labels.
"""

from rock_d2.data.datasets.coco import CLASSES, register_multitask_coco

THING_CLASSES = tuple(CLASSES["pascal"]["things"])
STUFF_CLASSES = ("background", *THING_CLASSES)

# val2498: the half of val on which SEISM's edge detection is measured.
SPLITS = {"train": ["val", "val2498"], "val": ["train"], "val2498": ["train"]}

for split, others in SPLITS.items():
    register_multitask_coco(
        f"pascal_mt_{split}",
        json_file=f"pascal_mt/annotations/pascal_mt_{split}.json",
        image_root="pascal_mt",
        thing_classes=list(THING_CLASSES),
        stuff_classes=list(STUFF_CLASSES),
        disjoint_from=[f"pascal_mt_{other}" for other in others],
        protocol="pascal_mt_2498" if split == "val2498" else "pascal_mt_5105",
    )
