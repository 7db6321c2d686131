"""COCO-format data sets whose images may carry further labels."""

import gc
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from rock_d2.data.datasets.validation import (
    TABLES,
    category_names,
    class_problems,
    structure_problems,
)

# It warns at each reading that ids other than 1, 2, ... become classes 0, 1, ..., as they should.
logging.getLogger(load_coco_json.__module__).addFilter(
    lambda record: "Category ids" not in record.getMessage()
)

# By data set and kind, in the order of their numbers.
CLASSES = yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text())

# COCO's own fields of an image.
COCO_FIELDS = {*TABLES["images"], "coco_url", "date_captured", "flickr_url", "license"}


def register_multitask_coco(name: str, json_file: str, image_root: str, **metadata: Any) -> None:
    """Make ``name`` a data set of Detectron2.

    Args:
        name: in yaml files.
        json_file: COCO instances JSON, absolute or below ``$DETECTRON2_DATASETS``. Each of its
            image records may hold labels for the whole image beside COCO's own fields, such as
            ``scene_id``; a field that ends in ``_file_name``, such as ``depth_file_name``, names a
            file below ``image_root``. ``boxes_known`` is false where nobody has looked for objects.
        image_root: the folder that all file names are relative to; absolute or as above.
        metadata: facts for ``MetadataCatalog``, such as ``scene_classes`` or ``intrinsics``.
            ``thing_classes`` are the JSON's categories, by id, and need not be given.
            ``disjoint_from`` names the data sets that may share no ``sequence`` with this one;
            ``empty_boxes`` is true where boxes of no width or height are allowed.
    """
    lists = {key: list(x) for key, x in metadata.items() if key.endswith("_classes")}
    DatasetCatalog.register(name, lambda: load_multitask_coco(json_file, image_root, name))
    MetadataCatalog[name] = CocoMetadata(
        name=name, files=(json_file, image_root), evaluator_type="coco", **metadata | lists
    )


def register_splits(
    tree: str, splits: Mapping[str, Sequence[str]], *, file: str = "", **metadata: Any
) -> None:
    """Register ``<tree>_<split>`` for each split of a tree as datasets/README.md has it.

    Args:
        tree: the folder below ``$DETECTRON2_DATASETS``.
        splits: by name, those that it may share no ``sequence`` with.
        file: what the names of the JSON files begin with; by default ``tree``.
        metadata: see ``register_multitask_coco``.
    """
    for split, others in splits.items():
        register_multitask_coco(
            f"{tree}_{split}",
            json_file=f"{tree}/annotations/{file or tree}_{split}.json",
            image_root=tree,
            disjoint_from=[f"{tree}_{other}" for other in others],
            **metadata,
        )


class CocoMetadata(Metadata):
    """The facts of a data set whose files need not be there, or be known, when it is registered.

    ``json_file``, ``image_root`` and, if they are not given, ``thing_classes`` are looked up when
    they are used.
    """

    def __getattr__(self, key: str) -> Any:
        if key in ("json_file", "image_root"):
            return str(data_path(self.files[key == "image_root"]))
        if key == "thing_classes":
            try:
                document = read_coco_json(self.json_file, self.name)
            except (OSError, ValueError) as problem:
                raise AttributeError(f"thing_classes: {problem}") from None
            # Not by an assignment, which would look it up again.
            self.__dict__[key] = category_names(document)
            return self.__dict__[key]
        return super().__getattr__(key)


def data_path(path: str | os.PathLike) -> Path:
    """Return an absolute path as it is, another one below ``$DETECTRON2_DATASETS``."""
    return Path(os.getenv("DETECTRON2_DATASETS") or "datasets") / path


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from searching new dicts by the million: half of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@collector_paused()
def load_multitask_coco(json_file: str, image_root: str, name: str) -> list[dict[str, Any]]:
    """Return Detectron2's dataset dicts with the further labels of each image.

    Wrong ids, fields, boxes and file names are a ValueError; nothing is skipped in silence.
    """
    path, root = data_path(json_file), data_path(image_root)
    metadata = MetadataCatalog.get(name)
    document = read_coco_json(path, name)
    problems = list(
        structure_problems(document, root, empty_boxes=metadata.get("empty_boxes", False))
    )
    # If they are not given, looking them up would read the file again.
    vars(metadata).setdefault("thing_classes", category_names(document))
    problems = problems or list(class_problems(document, metadata))
    if problems:
        raise ValueError(
            f"{path}: {problems[0]} ({len(problems)} problem(s) in all); "
            f"see them by: python tools/check_dataset.py {name}"
        )
    images = {image["id"]: image for image in document["images"]}
    # Detectron2 cannot number no classes.
    numbered = name if document["categories"] else None
    # Before Detectron2 reads it once more.
    del document
    records = load_coco_json(str(path), str(root), numbered)
    for record in records:
        image = images[record["image_id"]]
        record |= _image_labels(image, root)
        if not image.get("boxes_known", True):
            del record["annotations"]
    return records


def check_is_there(json_file: str | os.PathLike, name: str) -> None:
    if not Path(json_file).is_file():
        raise FileNotFoundError(
            f"{json_file}: data set `{name}` is not there; datasets/README.md says how to make it, "
            "$DETECTRON2_DATASETS says where it is looked for"
        )


def read_coco_json(json_file: str | os.PathLike, name: str) -> Any:
    """Return the document, or raise an error that says what to do about the file."""
    check_is_there(json_file, name)
    try:
        return json.loads(Path(json_file).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{json_file}: is no JSON ({error}); make or download it again") from None


def _image_labels(image: dict[str, Any], root: Path) -> dict[str, Any]:
    labels = {key: value for key, value in image.items() if key not in COCO_FIELDS}
    files = {key: f"{root}/{value}" for key, value in labels.items() if key.endswith("_file_name")}
    return labels | files
