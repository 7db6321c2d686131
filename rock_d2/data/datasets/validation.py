"""The faults of a COCO-format JSON that are seen without opening an image."""

import reprlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.data import Metadata

from rock_d2.image_files import is_file


class Field(NamedTuple):
    """A field of an entry: whether a value is right, and the words for that."""

    is_right: Callable[[Any], bool]
    meaning: str
    optional: bool = False


def is_int(value: Any) -> bool:
    return type(value) is int


def is_box(value: Any) -> bool:
    # NaN fails the comparison.
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, int | float) and abs(number) < 1e9 for number in value)
    )


def is_mask(value: Any) -> bool:
    """Return whether Detectron2 keeps the object: it drops those whose polygons are all too short.

    No value, or an empty one, is an object without a mask.
    """
    polygons = value if isinstance(value, list) else []
    return (
        (isinstance(value, dict) and {"size", "counts"} <= value.keys())
        or not value
        or any(isinstance(x, list) and len(x) >= 6 and len(x) % 2 == 0 for x in polygons)
    )


IS_INT = Field(is_int, "an int")
IS_SIDE = Field(lambda value: is_int(value) and value > 0, "an int above 0")
IS_TEXT = Field(lambda value: isinstance(value, str) and value != "", "text")
TABLES = {
    "images": {
        "id": IS_INT,
        "file_name": IS_TEXT,
        "height": IS_SIDE,
        "width": IS_SIDE,
        "boxes_known": Field(lambda value: isinstance(value, bool), "true or false", optional=True),
    },
    "annotations": {
        "id": IS_INT,
        "image_id": IS_INT,
        "category_id": IS_INT,
        "bbox": Field(is_box, "[x, y, width, height]"),
        "iscrowd": Field(lambda value: value in (0, 1), "0 or 1", optional=True),
        "ignore": Field(lambda value: value == 0, "0, or left out: see `iscrowd`", optional=True),
        "segmentation": Field(
            is_mask, "[x, y, x, y, ...] of 3 points or more, an RLE, or left out", optional=True
        ),
    },
    "categories": {"id": IS_INT, "name": IS_TEXT},
}
# Keys of dataset dicts and batch items that an image's own field would replace.
RESERVED_FIELDS = ("image_id", "annotations", "image", "instances")
# Boxes of other converters may end half a pixel outside.
BOX_TOLERANCE = 0.5


def structure_problems(
    document: Any, image_root: Path, *, empty_boxes: bool = False
) -> Iterator[str]:
    """Yield a line for every problem of ids, fields, boxes and file names of a JSON."""
    if wrong := missing_tables(document):
        yield f"lacks the list(s) {', '.join(f'`{name}`' for name in wrong)}"
        return
    right: dict[str, list[dict[str, Any]]] = {}
    for table in TABLES:
        right[table] = yield from _table_problems(table, document[table])
    images = {image["id"]: image for image in right["images"]}
    for image in images.values():
        yield from _image_problems(image, image_root)
    kinds = {category["id"] for category in right["categories"]}
    for found in right["annotations"]:
        where = f"annotation id {found['id']}"
        if found["category_id"] not in kinds:
            yield f"{where}: `category_id` {found['category_id']} is no category"
        image = images.get(found["image_id"])
        if image is None:
            yield f"{where}: `image_id` {found['image_id']} is no image"
        else:
            where += f" of {image['file_name']}"
            if not image.get("boxes_known", True):
                yield f"{where}, whose `boxes_known` is false: remove one of the two"
            yield from _box_problems(where, found["bbox"], image, may_be_empty=empty_boxes)


def missing_tables(document: Any) -> list[str]:
    """Return the names of the lists that a COCO-format document must have and this one lacks."""
    found = document if isinstance(document, dict) else {}
    return [name for name in TABLES if not isinstance(found.get(name), list)]


def entries(document: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    """Return the entries of a table that have all fields."""
    return [entry for entry in document[table] if not any(field_problems(entry, table))]


def field_problems(entry: Any, table: str) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"is {reprlib.repr(entry)}, not a dict"
        return
    files = {name: IS_TEXT for name in entry if name.endswith("_file_name")}
    for name, field in {**TABLES[table], **files}.items():
        value = entry.get(name)
        if not (field.is_right(value) or (field.optional and name not in entry)):
            yield f"`{name}` is {reprlib.repr(value)}; it must be {field.meaning}"


def _table_problems(table: str, found: Sequence[Any]) -> Generator[str, None, list[dict[str, Any]]]:
    """Yield a line for each problem, and return the entries without one."""
    right = []
    for index, entry in enumerate(found):
        problems = list(field_problems(entry, table))
        yield from (f"`{table}` number {index}: {problem}" for problem in problems)
        if not problems:
            right.append(entry)
    identities = [entry.get("id") for entry in found if isinstance(entry, dict)]
    for identity, count in Counter(filter(is_int, identities)).items():
        if count > 1:
            yield f"`{table}`: id {identity} is given {count} times"
    return right


def _image_problems(image: Mapping[str, Any], image_root: Path) -> Iterator[str]:
    where = f"{image['file_name']} (image id {image['id']})"
    for field in RESERVED_FIELDS:
        if field in image:
            yield f"{where}: has a field `{field}`, which has another meaning later"
    for field, name in image.items():
        if field.endswith("file_name") and not is_file(f"{image_root}/{name}"):
            yield f"{where}: `{field}` names {image_root / name}, which is not there"


def _box_problems(
    where: str, box: Sequence[float], image: Mapping[str, Any], *, may_be_empty: bool
) -> Iterator[str]:
    x, y, width, height = box
    ends = (x + width - image["width"], y + height - image["height"])
    if min(width, height) < (0 if may_be_empty else 1e-6):
        remedy = "remove it, or register the set with empty_boxes=True"
        yield f"{where}: `bbox` {box} is empty; {remedy}"
    elif max(-x, -y, *ends) > BOX_TOLERANCE:
        yield f"{where}: `bbox` {box} leaves the image, {image['width']} x {image['height']}"


def class_problems(document: Mapping[str, Any], metadata: Metadata) -> Iterator[str]:
    """Yield a line if a structure without problems has other classes than its data set."""
    found, wanted = category_names(document), metadata.get("thing_classes")
    if wanted is None or found == list(wanted):
        return
    pairs = enumerate(zip_longest(found, wanted))
    place, (name, expected) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    yield (
        f"`categories` number {place}, by id, is {name!r}; the data set's class of that number is "
        f"{expected!r}"
    )


def category_names(document: Any) -> list[str]:
    """Return the names of a document's categories, by id."""
    table = [] if missing_tables(document) else entries(document, "categories")
    return [category["name"] for category in sorted(table, key=lambda category: category["id"])]
