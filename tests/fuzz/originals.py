"""Small inputs that are right: images, labels, an annotation file, a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode

from rock_d2 import model_zoo
from rock_d2.tasks import TASK_REGISTRY, Task

CONFIG = "quick_schedules/rock_rooms_quick.yaml"
HEIGHT, WIDTH = 24, 32
# A ResNet-50 and a head so narrow that a checkpoint is small.
SMALL = (
    *("INPUT.SIZE", [48, 64], "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 2),
    *("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.SSD.IN_FEATURES", ["res4"]),
    *("MODEL.ROCK.IN_FEATURE", "res4", "MODEL.ROCK.WIDTH", 8, "MODEL.SSD.EXTRA_CHANNELS", [8]),
)


def small_config() -> CfgNode:
    cfg = model_zoo.get_config(CONFIG)
    cfg.merge_from_list(list(SMALL))
    return cfg


def write_images(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """A dataset dict with an image and the label files of all tasks that have some."""
    pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    cv2.imwrite(str(folder / "image.png"), pixels)
    cv2.imwrite(str(folder / "image.jpg"), pixels)
    record = {"file_name": str(folder / "image.png"), "height": HEIGHT, "width": WIDTH}
    for task in map_tasks():
        shape = (HEIGHT, WIDTH, task.num_outputs) if task.num_outputs > 1 else (HEIGHT, WIDTH)
        label = np.full(shape, task.unknown_level, task.stored_type)
        file = folder / f"{task.name}.png"
        cv2.imwrite(str(file), label)
        record[task.field] = str(file)
    return record


def map_tasks() -> list[Task]:
    return [task for task in all_tasks() if task.field.endswith("file_name")]


def all_tasks() -> list[Task]:
    return [task() for _, task in TASK_REGISTRY]


def coco_document(record: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Two images with two boxes each."""
    labels = {k: v for k, v in record.items() if k not in ("height", "width")}
    files = {key: Path(value).name for key, value in labels.items()}
    others = {task.field: 0 for task in all_tasks() if task.field not in files}
    size = {"height": HEIGHT, "width": WIDTH}
    box = {"bbox": [2, 3, 10, 8], "area": 80, "iscrowd": 0}
    polygon = {"segmentation": [[2, 3, 12, 3, 12, 11]], "keypoints": [2, 3, 1]}
    return {
        "images": [{"id": i, "sequence": "a", **size, **files, **others} for i in (0, 1)],
        "annotations": [
            {"id": i, "image_id": i // 2, "category_id": 1 + i, **box, **(polygon if i else {})}
            for i in range(4)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
    }
