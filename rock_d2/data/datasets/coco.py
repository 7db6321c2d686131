"""COCO-format data sets whose images may carry further labels."""

import json
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.utils.file_io import PathManager

from rock_d2.data.datasets.validation import class_problems, structure_problems

# What COCO itself says of an image; load_coco_json reads it.
COCO_FIELDS = {
    "coco_url",
    "date_captured",
    "file_name",
    "flickr_url",
    "height",
    "id",
    "license",
    "width",
}


def register_multitask_coco(name: str, json_file: str, image_root: str, **metadata: Any) -> None:
    """Makes ``name`` a data set of Detectron2.

    Args:
        name: what yaml files call it.
        json_file: COCO instances JSON. Each of its image records may hold labels for the whole
            image beside COCO's own fields, such as ``scene_id``; a field that ends in
            ``_file_name``, such as ``depth_file_name``, names a file below ``image_root``.
        image_root: the folder that all file names are relative to.
        metadata: facts for ``MetadataCatalog``, such as ``scene_classes`` or ``intrinsics``.
            ``disjoint_from`` names the data sets that may share no ``sequence`` with this one;
            ``empty_boxes`` is true where boxes of no width or height are in order.
    """
    DatasetCatalog.register(name, lambda: load_multitask_coco(json_file, image_root, name))
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def load_multitask_coco(json_file: str, image_root: str, name: str) -> list[dict[str, Any]]:
    """Detectron2's dataset dicts with the further labels of each image.

    Raises:
        ValueError: if ids, fields, boxes or file names are wrong; nothing is skipped in silence.
    """
    document = read_coco_json(json_file, name)
    empty_boxes = MetadataCatalog.get(name).get("empty_boxes", False)
    problems = list(structure_problems(document, Path(image_root), empty_boxes=empty_boxes))
    problems = problems or list(class_problems(document, MetadataCatalog.get(name)))
    if problems:
        raise ValueError(
            f"{json_file}: {problems[0]} ({len(problems)} problem(s) in all); "
            f"see them by: python tools/check_dataset.py {name}"
        )
    records = load_coco_json(json_file, image_root, name)
    images = {image["id"]: image for image in document["images"]}
    for record in records:
        record |= _image_labels(images[record["image_id"]], Path(image_root))
    return records


def read_coco_json(json_file: str, name: str) -> Any:
    """The document, or an error that says what to do about the file."""
    if not PathManager.isfile(json_file):
        raise FileNotFoundError(
            f"{json_file}: data set `{name}` is not there; datasets/README.md says how to make it, "
            "$DETECTRON2_DATASETS says where it is looked for"
        )
    with PathManager.open(json_file) as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{json_file}: is no JSON ({error}); make or download it anew"
            ) from None


def _image_labels(image: dict[str, Any], root: Path) -> dict[str, Any]:
    labels = {key: value for key, value in image.items() if key not in COCO_FIELDS}
    files = {key: str(root / value) for key, value in labels.items() if key.endswith("_file_name")}
    return labels | files
