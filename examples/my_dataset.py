"""A data set of one's own: objects in COCO's format, with depth where it was measured.

    $DETECTRON2_DATASETS/kitchens/
      train.json, val.json     COCO instances JSON
      images/0001.jpg ...
      depth/0001.png ...       uint16, millimetres along the optical axis, 0 where unknown

An image of the JSON names its depth beside its own file; images may lack it:

    {"id": 1, "file_name": "images/0001.jpg", "depth_file_name": "depth/0001.png",
     "height": 480, "width": 640}

Every tool takes this file, which registers the sets when it is imported:

    python tools/check_dataset.py --import examples/my_dataset.py kitchens_train kitchens_val
    python tools/train_net.py --import examples/my_dataset.py \
        --config-file configs/rock_nyuv2.yaml \
        DATASETS.TRAIN '("kitchens_train",)' DATASETS.TEST '("kitchens_val",)' \
        MODEL.TASKS.AUXILIARY '["Depth"]' MODEL.SSD.NUM_CLASSES 0
"""

from pathlib import Path

import cv2
import numpy as np

from rock_d2 import register_multitask_coco
from rock_d2.tasks.depth import encode_depth

for split in ("train", "val"):
    register_multitask_coco(
        f"kitchens_{split}",
        f"kitchens/{split}.json",
        "kitchens",
        # Metres between which depth is plausible; check_dataset reports the images beyond.
        depth_range=(0.2, 20.0),
        # fx, fy, cx, cy of the camera at the images' size.
        intrinsics=(520.0, 520.0, 319.5, 239.5),
        disjoint_from=["kitchens_val" if split == "train" else "kitchens_train"],
    )


def write_depth(file: Path, metres: np.ndarray) -> None:
    """Write a depth map (H, W), 0 where unknown, as the sets have it."""
    if not cv2.imwrite(str(file), encode_depth(metres)):
        raise OSError(f"{file} cannot be written")
