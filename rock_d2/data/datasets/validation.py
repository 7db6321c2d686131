"""The faults of a COCO-format JSON that can be seen without opening an image."""

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from detectron2.data import Metadata

IMAGE_FIELDS = {"id": int, "file_name": str, "height": int, "width": int}
ANNOTATION_FIELDS = {"id": int, "image_id": int, "category_id": int, "bbox": list}
CATEGORY_FIELDS = {"id": int, "name": str}
# Keys of dataset dicts and batch items that an image's own field would replace.
RESERVED_FIELDS = ("image_id", "annotations", "image", "instances")
# Fields of an annotation that Detectron2 reads if they are there.
OPTIONAL_FIELDS = {
    "iscrowd": "0 or 1",
    "ignore": "0, since no part of Detectron2 ignores objects",
    "segmentation": "polygons, lists of numbers, or a mask of `size` and `counts`",
    "keypoints": "a list of numbers",
}
# Boxes of other converters may end half a pixel outside.
BOX_TOLERANCE = 0.5


def structure_problems(
    document: Any, image_root: Path, *, empty_boxes: bool = False
) -> Iterator[str]:
    """Yield a line for every problem of ids, fields, boxes and file names.

    Args:
        document: the whole JSON.
        image_root: the folder that file names are relative to.
        empty_boxes: whether boxes of no width or height are allowed.
    """
    if wrong := missing_tables(document):
        yield f"lacks the list(s) {', '.join(f'`{name}`' for name in wrong)}"
        return
    whole_images, problems = _with_fields("image", document["images"], IMAGE_FIELDS)
    yield from problems
    whole_annotations, problems = _with_fields(
        "annotation", document["annotations"], ANNOTATION_FIELDS
    )
    yield from problems
    categories, problems = _with_fields("category", document["categories"], CATEGORY_FIELDS)
    yield from problems
    for kind, table in (
        ("image", whole_images),
        ("annotation", whole_annotations),
        ("category", categories),
    ):
        yield from _duplicates(kind, table)
    for image in whole_images:
        yield from _image_problems(image, image_root)
    yield from _annotation_problems(
        whole_annotations,
        images={image["id"]: image for image in whole_images},
        category_ids={category["id"] for category in categories},
        empty_boxes=empty_boxes,
    )


def missing_tables(document: Any) -> list[str]:
    """Return the names of the lists that a COCO-format document must have and this one lacks."""
    found = document if isinstance(document, dict) else {}
    tables = ("images", "annotations", "categories")
    return [name for name in tables if not isinstance(found.get(name), list)]


def _with_fields(
    kind: str, table: Sequence[Any], fields: Mapping[str, type]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries that have all fields, and a line for each of the others."""
    problems = []
    for index, entry in enumerate(table):
        wrong = _wrong_fields(entry, fields)
        if wrong:
            listed = "`, `".join(wrong)
            problems.append(f"{kind} number {index}: `{listed}` missing or of a wrong type")
    return entries(table, fields), problems


def entries(table: Sequence[Any], fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """Return the entries that have all fields."""
    return [entry for entry in table if not _wrong_fields(entry, fields)]


def _wrong_fields(entry: Any, fields: Mapping[str, type]) -> list[str]:
    if not isinstance(entry, dict):
        return list(fields)
    return [
        field
        for field, kind in fields.items()
        if not isinstance(entry.get(field), kind) or isinstance(entry.get(field), bool)
    ]


def _duplicates(kind: str, table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for identity, count in Counter(entry["id"] for entry in table).items():
        if count > 1:
            yield f"{kind} id {identity}: given {count} times"


def _image_problems(image: Mapping[str, Any], image_root: Path) -> Iterator[str]:
    where = f"{image['file_name']} (image id {image['id']})"
    if min(image["height"], image["width"]) < 1:
        size = f"{image['height']} x {image['width']}"
        yield f"{where}: `height` and `width` are {size}"
    for field in RESERVED_FIELDS:
        if field in image:
            yield f"{where}: has a field `{field}`, which has another meaning later"
    for field, name in image.items():
        if not field.endswith("file_name"):
            continue
        if not isinstance(name, str):
            shown = reprlib.repr(name)
            yield f"{where}: `{field}` is {shown}, not a file's name"
        elif not is_file(image_root / name):
            yield f"{where}: `{field}` names {image_root / name}, which is not there"


def _annotation_problems(
    annotations: Sequence[Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    category_ids: set[int],
    empty_boxes: bool,
) -> Iterator[str]:
    for annotation in annotations:
        where = f"annotation id {annotation['id']}"
        if annotation["category_id"] not in category_ids:
            yield f"{where}: `category_id` {annotation['category_id']} is no category"
        image = images.get(annotation["image_id"])
        if image is None:
            yield f"{where}: `image_id` {annotation['image_id']} is no image"
            continue
        where += f" of {image['file_name']}"
        yield from _optional_problems(where, annotation)
        yield from _box_problems(
            where, annotation["bbox"], image, smallest=0 if empty_boxes else 1e-6
        )


def _optional_problems(where: str, annotation: Mapping[str, Any]) -> Iterator[str]:
    wanted = {
        "iscrowd": lambda value: value in (0, 1),
        "ignore": lambda value: value == 0,
        "segmentation": _is_segmentation,
        "keypoints": _are_numbers,
    }
    for field, is_right in wanted.items():
        if annotation.get(field) is not None and not is_right(annotation[field]):
            shown = reprlib.repr(annotation[field])
            yield f"{where}: `{field}` is {shown}; it must be {OPTIONAL_FIELDS[field]}"


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, int | float) for x in value)


def _is_segmentation(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_are_numbers, value))
    return isinstance(value, dict) and (isinstance(value.get("counts"), str) or _are_runs(value))


def _are_runs(value: Mapping[str, Any]) -> bool:
    numbers = [value.get("counts"), value.get("size")]
    return (
        all(
            isinstance(x, list) and all(type(n) is int and 0 <= n < 2**32 for n in x)
            for x in numbers
        )
        and len(value["size"]) == 2
    )


def _box_problems(
    where: str, box: Sequence[Any], image: Mapping[str, Any], smallest: float
) -> Iterator[str]:
    numbers = [v for v in box if isinstance(v, int | float) and abs(v) < float("inf")]
    if len(box) != 4 or len(numbers) != 4:
        yield f"{where}: `bbox` {reprlib.repr(box)} is not [x, y, width, height]"
        return
    x, y, width, height = box
    if min(width, height) < smallest:
        yield f"{where}: `bbox` {box} is empty"
    elif (
        min(x, y) < -BOX_TOLERANCE
        or x + width > image["width"] + BOX_TOLERANCE
        or y + height > image["height"] + BOX_TOLERANCE
    ):
        size = f"{image['width']} x {image['height']}"
        yield f"{where}: `bbox` {box} leaves the image, {size}"


def class_problems(document: Mapping[str, Any], metadata: Metadata) -> Iterator[str]:
    """Yield a line if a structure without problems has other classes than its data set."""
    categories = sorted(document["categories"], key=lambda category: category["id"])
    found, wanted = [c["name"] for c in categories], metadata.get("thing_classes")
    if wanted is None or found == list(wanted):
        return
    pairs = enumerate(zip_longest(found, wanted))
    place, (name, expected) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    yield (
        f"`categories` number {place}, by id, is {reprlib.repr(name)}; the data set's class of "
        f"that number is {expected!r}"
    )


def is_file(path: Path) -> bool:
    """Return whether a path names a file; also for a name that cannot be one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
