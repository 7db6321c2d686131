"""What can be wrong in a COCO-format JSON, told without opening any image."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

IMAGE_FIELDS = {"id": int, "file_name": str, "height": int, "width": int}
ANNOTATION_FIELDS = {"id": int, "image_id": int, "category_id": int, "bbox": list}
# Boxes of other converters may end half a pixel outside.
BOX_TOLERANCE = 0.5


def structure_problems(
    document: Any, image_root: Path, *, empty_boxes: bool = False
) -> Iterator[str]:
    """A line for every problem of ids, fields, boxes and file names.

    Args:
        document: the whole JSON.
        image_root: the folder that file names are relative to.
        empty_boxes: whether boxes of no width or height are in order.
    """
    tables = ("images", "annotations", "categories")
    wrong = [
        name
        for name in tables
        if not isinstance(document, dict) or not isinstance(document.get(name), list)
    ]
    if wrong:
        yield f"lacks the list(s) {', '.join(f'`{name}`' for name in wrong)}"
        return
    images, annotations = document["images"], document["annotations"]
    whole_images, problems = _with_fields("image", images, IMAGE_FIELDS)
    yield from problems
    whole_annotations, problems = _with_fields("annotation", annotations, ANNOTATION_FIELDS)
    yield from problems
    categories, problems = _with_fields(
        "category", document["categories"], {"id": int, "name": str}
    )
    yield from problems
    for kind, table in (
        ("image", whole_images),
        ("annotation", whole_annotations),
        ("category", categories),
    ):
        yield from _duplicates(kind, table)
    for image in whole_images:
        yield from _file_problems(image, image_root)
    yield from _annotation_problems(
        whole_annotations,
        images={image["id"]: image for image in whole_images},
        category_ids={category["id"] for category in categories},
        empty_boxes=empty_boxes,
    )


def _with_fields(
    kind: str, table: Sequence[Any], fields: Mapping[str, type]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries that have all fields, and a line for each of the others."""
    whole, problems = [], []
    for index, entry in enumerate(table):
        wrong = [
            field
            for field, kind_of_value in fields.items()
            if not isinstance(entry, dict)
            or not isinstance(entry.get(field), kind_of_value)
            or isinstance(entry.get(field), bool)
        ]
        if wrong:
            problems.append(f"{kind} number {index}: `{'`, `'.join(wrong)}` missing or no number")
        else:
            whole.append(entry)
    return whole, problems


def _duplicates(kind: str, table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for identity, count in Counter(entry["id"] for entry in table).items():
        if count > 1:
            yield f"{kind} id {identity}: given {count} times"


def _file_problems(image: Mapping[str, Any], image_root: Path) -> Iterator[str]:
    for field, name in image.items():
        if not field.endswith("file_name"):
            continue
        if not isinstance(name, str):
            yield f"image id {image['id']}: `{field}` is {name!r}, not a file's name"
        elif not (image_root / name).is_file():
            yield f"image id {image['id']}: `{field}` names {image_root / name}, which is not there"


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
        yield from _box_problems(
            where, annotation["bbox"], image, smallest=0 if empty_boxes else 1e-6
        )


def _box_problems(
    where: str, box: Sequence[Any], image: Mapping[str, Any], smallest: float
) -> Iterator[str]:
    numbers = [v for v in box if isinstance(v, int | float) and abs(v) < float("inf")]
    if len(box) != 4 or len(numbers) != 4:
        yield f"{where}: `bbox` {box} is not [x, y, width, height]"
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
        yield f"{where}: `bbox` {box} leaves image id {image['id']} of {size}"
