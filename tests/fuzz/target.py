"""What can be fuzzed: an input of the project that is right at first, and its use."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode

from fuzz.mutations import Generator, changed_bytes
from rock_d2 import model_zoo
from rock_d2.tasks import TASK_REGISTRY, Task

CONFIG = "quick_schedules/rock_rooms_quick.yaml"
HEIGHT, WIDTH = 24, 32
CLASSES = ("bed", "box", "chair", "desk")
# A ResNet-50 and a head so narrow that a checkpoint is small.
SMALL = (
    *("INPUT.SIZE", [48, 64], "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 2),
    *("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.SSD.IN_FEATURES", ["res4"]),
    *("MODEL.ROCK.IN_FEATURES", ["res4"], "MODEL.ROCK.WIDTH", 8, "MODEL.SSD.EXTRA_CHANNELS", [8]),
)


class Target(ABC):
    """An input of the project.

    Attributes:
        folder: of the inputs.
        names: texts of which a refusal has to contain one; files are among them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: tuple[str, ...] = (str(folder),)

    @abstractmethod
    def change(self, rng: Generator) -> str:
        """Write an input that is damaged somehow, and describe the damage."""

    @abstractmethod
    def use(self) -> None:
        """Use the input as the project does."""


class BinaryFile(Target):
    """A file whose bytes are those of one of the originals, damaged."""

    file: Path
    originals: Sequence[bytes]

    def change(self, rng: Generator) -> str:
        what, content = changed_bytes(rng, self.originals[rng.integers(len(self.originals))])
        self.file.write_bytes(content)
        return what


def small_config() -> CfgNode:
    cfg = model_zoo.get_config(CONFIG)
    cfg.merge_from_list(list(SMALL))
    return cfg


def all_tasks() -> list[Task]:
    return [task() for _, task in TASK_REGISTRY]


def map_tasks() -> list[Task]:
    return [task for task in all_tasks() if task.is_map]


def write_images(folder: Path) -> dict[str, Any]:
    """Write an image and the label files of all tasks that have some; return the dataset dict."""
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    for end in ("png", "jpg"):
        cv2.imwrite(str(folder / f"image.{end}"), pixels)
    record = {"file_name": str(folder / "image.png"), "height": HEIGHT, "width": WIDTH}
    for task in map_tasks():
        channels = task.label_channels
        shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
        record[task.field] = str(folder / f"{task.name}.png")
        cv2.imwrite(record[task.field], np.full(shape, task.unknown_level, task.stored_type))
    return record | {task.field: 0 for task in all_tasks() if task.field not in record}


def coco_document(record: dict[str, Any], names: Sequence[str] = CLASSES) -> dict[str, Any]:
    """Return an annotation file of two images with two boxes each."""
    image = {k: Path(v).name if isinstance(v, str) else v for k, v in record.items()}
    box = {"bbox": [2, 3, 10, 8], "area": 80, "iscrowd": 0}
    polygon = {"segmentation": [[2, 3, 12, 3, 12, 11]], "keypoints": [2, 3, 1]}
    return {
        "images": [{"id": i, "sequence": "a", **image} for i in (0, 1)],
        "annotations": [
            {"id": i, "image_id": i // 2, "category_id": 1 + i, **box, **(polygon if i else {})}
            for i in range(4)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
    }
