"""NYUv2 (Silberman et al., ECCV 2012): its classes, its camera and its registered splits."""

import os
from pathlib import Path

from rock_d2.data.datasets.coco import register_multitask_coco

# The 19 classes of Gupta et al., ECCV 2014; each is exactly one of the 894 label names of NYUv2.
THING_CLASSES = (
    "bathtub",
    "bed",
    "bookshelf",
    "box",
    "chair",
    "counter",
    "desk",
    "door",
    "dresser",
    "garbage bin",
    "lamp",
    "monitor",
    "night stand",
    "pillow",
    "sink",
    "sofa",
    "table",
    "television",
    "toilet",
)

# The 27 scene types of all 1449 labelled frames, sorted; "excercise_room" is NYUv2's own spelling.
SCENE_CLASSES = (
    "basement",
    "bathroom",
    "bedroom",
    "bookstore",
    "cafe",
    "classroom",
    "computer_lab",
    "conference_room",
    "dinette",
    "dining_room",
    "excercise_room",
    "foyer",
    "furniture_store",
    "home_office",
    "home_storage",
    "indoor_balcony",
    "kitchen",
    "laundry_room",
    "living_room",
    "office",
    "office_kitchen",
    "playroom",
    "printer_room",
    "reception_room",
    "student_lounge",
    "study",
    "study_room",
)

IMAGE_SIZE = (480, 640)

# fx, fy, cx, cy of the colour camera at 480 x 640, to which the depth is registered. The toolbox
# counts pixels from 1 (camera_params.m), we count from 0.
INTRINSICS = (
    518.85790117450188,
    519.46961112127485,
    325.58244941119034 - 1,
    253.73616633400465 - 1,
)

# Metres; Kinect sees nothing beyond 10 m.
DEPTH_RANGE = (0.5, 10.0)


# Official train and test, and the paper's division of train for its ablations (sec. 4); each with
# the splits that no video sequence may be shared with.
SPLITS = {
    "nyuv2_train": ["nyuv2_test"],
    "nyuv2_test": ["nyuv2_train"],
    "nyuv2_train673": ["nyuv2_val122", "nyuv2_test"],
    "nyuv2_val122": ["nyuv2_train673", "nyuv2_test"],
}


def register_nyuv2(root: Path) -> None:
    """Registers what datasets/prepare_nyuv2.py writes below ``root``."""
    for name, others in SPLITS.items():
        register_multitask_coco(
            name,
            json_file=str(root / "nyuv2" / "annotations" / f"{name}.json"),
            image_root=str(root / "nyuv2"),
            thing_classes=list(THING_CLASSES),
            scene_classes=list(SCENE_CLASSES),
            depth_range=DEPTH_RANGE,
            intrinsics=INTRINSICS,
            disjoint_from=others,
        )


register_nyuv2(Path(os.getenv("DETECTRON2_DATASETS", "datasets")))
