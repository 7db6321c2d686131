"""SUN RGB-D (Song et al., CVPR 2015): NYUv2's 19 classes of objects, its own scene types."""

from rock_d2.data.datasets.coco import CLASSES, register_multitask_coco
from rock_d2.data.datasets.nyuv2 import THING_CLASSES

SCENE_CLASSES = tuple(CLASSES["sunrgbd"]["scenes"])

# Beyond 8 m its toolbox cuts the depth off.
DEPTH_RANGE = (0.2, 8.0)

for split, other in (("train", "test"), ("test", "train")):
    register_multitask_coco(
        f"sunrgbd_{split}",
        json_file=f"sunrgbd/annotations/sunrgbd_{split}.json",
        image_root="sunrgbd",
        thing_classes=list(THING_CLASSES),
        scene_classes=list(SCENE_CLASSES),
        depth_range=DEPTH_RANGE,
        disjoint_from=[f"sunrgbd_{other}"],
    )
