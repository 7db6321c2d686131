"""Rooms: rendered by datasets/make_rooms.py, most of them with the classes of NYUv2. Not NYUv2."""

from rock_d2.data.datasets.coco import CLASSES, register_multitask_coco
from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, STUFF_CLASSES, THING_CLASSES

OTHER_CLASSES = tuple(CLASSES["rooms_other"]["things"])

# The styles of datasets/make_rooms.py.
for folder in ("rooms", "rooms_plain", "rooms_other"):
    is_other = folder == "rooms_other"
    for split, other in (("train", "val"), ("val", "train")):
        register_multitask_coco(
            f"{folder}_{split}",
            json_file=f"{folder}/annotations/{folder}_{split}.json",
            image_root=folder,
            thing_classes=list(OTHER_CLASSES if is_other else THING_CLASSES),
            stuff_classes=list(STUFF_CLASSES),
            depth_range=(0.2, 10.0),
            protocol="rooms",
            disjoint_from=[f"{folder}_{other}"],
            **({} if is_other else {"scene_classes": list(SCENE_CLASSES)}),
        )
