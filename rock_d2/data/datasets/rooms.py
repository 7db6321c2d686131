"""Rooms: rendered by datasets/make_rooms.py, with the classes of NYUv2. Not NYUv2."""

import os
from pathlib import Path

from rock_d2.data.datasets.coco import register_multitask_coco
from rock_d2.data.datasets.nyuv2 import DEPTH_RANGE, SCENE_CLASSES, THING_CLASSES


def register_rooms(root: Path) -> None:
    """Registers ``rooms_train`` and ``rooms_val`` below ``root``."""
    for name, other in (("rooms_train", "rooms_val"), ("rooms_val", "rooms_train")):
        register_multitask_coco(
            name,
            json_file=str(root / "rooms" / "annotations" / f"{name}.json"),
            image_root=str(root / "rooms"),
            thing_classes=list(THING_CLASSES),
            scene_classes=list(SCENE_CLASSES),
            depth_range=DEPTH_RANGE,
            disjoint_from=[other],
        )


register_rooms(Path(os.getenv("DETECTRON2_DATASETS") or "datasets"))
