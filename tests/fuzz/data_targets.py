"""Data sets, images and label files, damaged."""

import json
from pathlib import Path

import torch
from check_dataset import check_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog

from fuzz.mutations import Generator, changed_bytes, changed_tree
from fuzz.target import (
    CLASSES,
    BinaryFile,
    Target,
    all_tasks,
    coco_document,
    small_config,
    write_images,
)
from rock_d2 import register_multitask_coco
from rock_d2.data import RockDatasetMapper
from rock_d2.tasks import Task


class Json(Target):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.file = folder / "annotations.json"
        self.document = coco_document(write_images(folder))

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
        file, folder = str(self.file), str(self.folder)
        register_multitask_coco(name, file, folder, thing_classes=list(CLASSES))
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


class Images(BinaryFile):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.record = write_images(folder) | {"annotations": []}
        self.originals = [(folder / f"image.{end}").read_bytes() for end in ("png", "jpg")]
        self.file = folder / "changed.png"
        self.record["file_name"] = str(self.file)
        self.mapper = RockDatasetMapper(small_config(), is_train=True)

    def use(self) -> None:
        self.mapper(self.record)


class LabelFiles(BinaryFile):
    """Of one task."""

    def __init__(self, folder: Path, task: Task):
        super().__init__(folder)
        self.record = write_images(folder)
        self.task = task
        self.file = Path(self.record[task.field])
        self.originals = [self.file.read_bytes()]

    def use(self) -> None:
        label = self.task.to_tensor(self.task.load(self.record))
        if not torch.as_tensor(label).isfinite().all():
            raise AssertionError("the label is not finite")
        self.task.check(self.record, MetadataCatalog.get("fuzzed"))
