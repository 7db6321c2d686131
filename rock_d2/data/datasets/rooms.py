"""Rooms: rendered by datasets/make_rooms.py, with the classes of NYUv2. Not NYUv2."""

from rock_d2.data.datasets.coco import register_multitask_coco
from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, THING_CLASSES

for name, other in (("rooms_train", "rooms_val"), ("rooms_val", "rooms_train")):
    register_multitask_coco(
        name,
        json_file=f"rooms/annotations/{name}.json",
        image_root="rooms",
        thing_classes=list(THING_CLASSES),
        scene_classes=list(SCENE_CLASSES),
        depth_range=(0.2, 10.0),
        disjoint_from=[other],
    )
