"""Rooms: rendered by datasets/make_rooms.py, with the classes of NYUv2. Not NYUv2."""

from rock_d2.data.datasets.coco import register_multitask_coco
from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, STUFF_CLASSES, THING_CLASSES

# rooms_plain: the rooms of --style plain.
for folder in ("rooms", "rooms_plain"):
    for split, other in (("train", "val"), ("val", "train")):
        register_multitask_coco(
            f"{folder}_{split}",
            json_file=f"{folder}/annotations/{folder}_{split}.json",
            image_root=folder,
            thing_classes=list(THING_CLASSES),
            stuff_classes=list(STUFF_CLASSES),
            scene_classes=list(SCENE_CLASSES),
            depth_range=(0.2, 10.0),
            protocol="rooms",
            disjoint_from=[f"{folder}_{other}"],
        )
