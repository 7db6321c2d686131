"""Rooms: rendered by datasets/make_rooms.py, most of them with the classes of NYUv2. Not NYUv2."""

from rock_d2.data.datasets.coco import CLASSES, register_splits
from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, STUFF_CLASSES, THING_CLASSES

OTHER_CLASSES = tuple(CLASSES["rooms_other"]["things"])

# The styles of datasets/make_rooms.py.
for tree, facts in {
    "rooms": {"thing_classes": THING_CLASSES, "scene_classes": SCENE_CLASSES},
    "rooms_plain": {"thing_classes": THING_CLASSES, "scene_classes": SCENE_CLASSES},
    "rooms_other": {"thing_classes": OTHER_CLASSES},
}.items():
    register_splits(
        tree,
        {"train": ["val"], "val": ["train"]},
        stuff_classes=STUFF_CLASSES,
        depth_range=(0.2, 10.0),
        protocol="rooms",
        **facts,
    )
