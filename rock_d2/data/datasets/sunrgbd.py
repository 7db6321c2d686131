"""SUN RGB-D (Song et al., CVPR 2015): NYUv2's 19 classes of objects, its own scene types."""

from rock_d2.data.datasets.coco import CLASSES, register_splits
from rock_d2.data.datasets.nyuv2 import THING_CLASSES

SCENE_CLASSES = tuple(CLASSES["sunrgbd"]["scenes"])

# Beyond 8 m its toolbox cuts the depth off.
DEPTH_RANGE = (0.2, 8.0)

register_splits(
    "sunrgbd",
    {"train": ["test"], "test": ["train"]},
    thing_classes=THING_CLASSES,
    scene_classes=SCENE_CLASSES,
    depth_range=DEPTH_RANGE,
)
