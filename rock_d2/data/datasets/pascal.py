"""PASCAL-Context for several tasks (Maninis et al., CVPR 2019): images of VOC 2010.

datasets/prepare_pascal.py writes the files; an image may lack any of the labels.
"""

from rock_d2.data.datasets.coco import CLASSES, register_splits

THING_CLASSES = tuple(CLASSES["pascal"]["things"])
STUFF_CLASSES = ("background", *THING_CLASSES)

# val2498: the half of val on which SEISM's edge detection is measured.
for protocol, splits in {
    "pascal_mt_5105": {"train": ["val", "val2498"], "val": ["train"]},
    "pascal_mt_2498": {"val2498": ["train"]},
}.items():
    register_splits(
        "pascal_mt",
        splits,
        thing_classes=THING_CLASSES,
        stuff_classes=STUFF_CLASSES,
        protocol=protocol,
    )
