"""What is fuzzed: inputs that are right at first, and what the project does with each."""

import json
import pickle
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from safetensors.torch import save

from rock_d2 import model_zoo, register_multitask_coco
from rock_d2.data import RockDatasetMapper
from rock_d2.data.checks import check_dataset
from rock_d2.engine.checkpoint import RockCheckpointer
from rock_d2.engine.setup import check_config
from rock_d2.evaluation.meters import load_prediction, save_prediction
from rock_d2.predictor import load_config, read_rgb
from rock_d2.robustness.mutations import Generator, changed_bytes, changed_lines, changed_tree
from rock_d2.robustness.originals import (
    CONFIG,
    HEIGHT,
    WIDTH,
    all_tasks,
    coco_document,
    map_tasks,
    small_config,
    write_images,
)
from rock_d2.tasks import AuxTask


class Target(ABC):
    """An input of the project.

    Attributes:
        names: texts of which a refusal has to name one; files are among them.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path):
        """
        Args:
            folder: for the inputs; nothing else is in it.
        """
        self.folder = folder
        self.names: tuple[str, ...] = (str(folder),)

    @abstractmethod
    def change(self, rng: Generator) -> str:
        """Writes an input that is damaged somehow, and tells how."""

    @abstractmethod
    def use(self) -> None:
        """What the project does with such an input."""


class BinaryFile(Target):
    """One file whose bytes are damaged.

    Attributes:
        file: where it lies.
        original: what it holds when it is right.
    """

    file: Path
    original: bytes

    def change(self, rng: Generator) -> str:
        what, content = changed_bytes(rng, self.original)
        self.file.write_bytes(content)
        return what


class DatasetDicts(Target):
    name = "dataset_dicts"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.record = write_images(folder, np.random.default_rng(0))
        box = {"bbox": [2.0, 3.0, 12.0, 11.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 3}
        self.record |= {"image_id": 7, "annotations": [box, {**box, "iscrowd": 0}]}
        self.record |= {task.field: 0 for task in all_tasks() if task.field not in self.record}
        self.mapper = RockDatasetMapper(small_config(), is_train=True)
        # Where there is no such file, its name and the field.
        self.names = (str(folder), "`file_name`", "named by `")

    def change(self, rng: Generator) -> str:
        what, self.changed = changed_tree(rng, self.record)
        return what

    def use(self) -> None:
        item = self.mapper(self.changed)
        boxes = item["instances"].gt_boxes.tensor
        if item["image"].dtype != torch.uint8 or not boxes.isfinite().all():
            raise AssertionError(f"the mapper made {item}")


class Json(Target):
    name = "json"

    def __init__(self, folder: Path):
        super().__init__(folder)
        record = write_images(folder, np.random.default_rng(0))
        self.file = folder / "annotations.json"
        self.document = coco_document(record, names=("bed", "box", "chair", "desk"))

    def change(self, rng: Generator) -> str:
        if rng.random() < 0.7:
            what, document = changed_tree(rng, self.document)
            self.file.write_text(json.dumps(document))
        else:
            what, content = changed_bytes(rng, json.dumps(self.document).encode())
            self.file.write_bytes(content)
        return what

    def use(self) -> None:
        name = "fuzzed"
        register_multitask_coco(
            name, str(self.file), str(self.folder), thing_classes=["bed", "box", "chair", "desk"]
        )
        try:
            problems = check_dataset(name, all_tasks(), num_processes=1).problems
            try:
                DatasetCatalog.get(name)
            except ValueError:
                if not problems:
                    raise AssertionError("check_dataset finds nothing wrong with it") from None
                raise
        finally:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


class Images(Target):
    name = "images"

    def __init__(self, folder: Path):
        super().__init__(folder)
        record = write_images(folder, np.random.default_rng(0))
        self.originals = [(folder / f"image.{end}").read_bytes() for end in ("png", "jpg")]
        size = {"height": HEIGHT, "width": WIDTH}
        self.file = folder / "changed.png"
        self.record = {**record, "file_name": str(self.file), **size, "annotations": []}
        self.mapper = RockDatasetMapper(small_config(), is_train=True)

    def change(self, rng: Generator) -> str:
        what, content = changed_bytes(rng, self.originals[rng.integers(2)])
        self.file.write_bytes(content)
        return what

    def use(self) -> None:
        self.mapper(self.record)
        read_rgb(self.file)


class LabelFiles(BinaryFile):
    """Of one task."""

    def __init__(self, folder: Path, task: AuxTask):
        super().__init__(folder)
        self.record = write_images(folder, np.random.default_rng(0))
        self.task = task
        self.file = Path(self.record[task.field])
        self.original = self.file.read_bytes()

    def use(self) -> None:
        label = self.task.to_tensor(self.task.load(self.record))
        if not torch.as_tensor(label).isfinite().all():
            raise AssertionError("the label is not finite")
        self.task.check(self.record, MetadataCatalog.get("fuzzed"))


class Configs(Target):
    name = "configs"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.files = [Path(model_zoo.get_config_file(name)) for name in (CONFIG, "rock_rooms.yaml")]
        self.text = load_config(self.files[0]).dump()
        self.file = folder / "config.yaml"
        # What is right by itself and impossible here is named by its setting.
        self.names = (*self.names, "MODEL.DEVICE", "DATASETS.")

    def change(self, rng: Generator) -> str:
        text = (*(file.read_text() for file in self.files), self.text)[rng.integers(3)]
        base = self.files[1].parent / "ssd_rooms.yaml"
        text = re.sub("^_BASE_:.*", f"_BASE_: {base}", text, flags=re.MULTILINE)
        if rng.random() < 0.7:
            what, text = changed_lines(rng, text)
            self.file.write_text(text, errors="replace")
        else:
            what, content = changed_bytes(rng, text.encode())
            self.file.write_bytes(content)
        return what

    def use(self) -> None:
        check_config(load_config(self.file))


class Checkpoints(Target):
    name = "checkpoints"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.cfg = small_config()
        self.model = build_model(self.cfg)
        self.content = {
            "model": self.model.state_dict(),
            "style": RockCheckpointer(self.cfg, model=self.model).style.settings(),
            "iteration": 3,
        }

    def change(self, rng: Generator) -> str:
        for file in self.folder.iterdir():
            file.unlink()
        end = (".pth", ".pkl", ".safetensors")[rng.integers(3)]
        self.file = self.folder / f"model{end}"
        what, content = "", self.content
        if rng.random() < 0.5 and end != ".safetensors":
            what, content = self._changed_content(rng)
        self._write(content)
        if not what:
            what, changed = changed_bytes(rng, self.file.read_bytes())
            self.file.write_bytes(changed)
        return f"{end}: {what}"

    def _changed_content(self, rng: Generator) -> tuple[str, Any]:
        """Another tree of the same tensors, which stand for themselves while it is made."""
        names = {name: name for name in self.content["model"]}
        odd = (None, 3, "", [], {}, [1], "backbone.stem.conv1.weight", float("nan"))
        what, tree = changed_tree(rng, {**self.content, "model": names}, odd)
        if isinstance(tree.get("model"), dict):
            tensors = self.content["model"]
            tree["model"] = {
                name: tensors[x] if isinstance(x, str) and x in tensors else x
                for name, x in tree["model"].items()
            }
        return what, tree

    def _write(self, content: Any) -> None:
        if self.file.suffix == ".pth":
            torch.save(content, self.file)
        elif self.file.suffix == ".safetensors":
            self.file.write_bytes(save(dict(content["model"])))
        else:
            model = content.get("model")
            if isinstance(model, dict):
                arrays = {n: x.numpy() if torch.is_tensor(x) else x for n, x in model.items()}
                content = {**content, "model": arrays}
            self.file.write_bytes(pickle.dumps(content, protocol=2))

    def use(self) -> None:
        RockCheckpointer(self.cfg, model=self.model).load(str(self.file))


class Predictions(BinaryFile):
    name = "predictions"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.record = {"image_id": 3, "file_name": "image.png"}
        save_prediction(folder, self.record, np.ones((1, HEIGHT, WIDTH), np.float32))
        self.file = folder / "3.npz"
        self.original = self.file.read_bytes()

    def use(self) -> None:
        load_prediction(self.folder, self.record)


PLAIN_TARGETS = (DatasetDicts, Json, Images, Configs, Checkpoints, Predictions)


def target_names() -> list[str]:
    """Label files go by their tasks' names."""
    return [target.name for target in PLAIN_TARGETS] + [task.name for task in map_tasks()]


def build_target(name: str, folder: Path) -> Target:
    for target in PLAIN_TARGETS:
        if target.name == name:
            return target(folder)
    return LabelFiles(folder, next(task for task in map_tasks() if task.name == name))
