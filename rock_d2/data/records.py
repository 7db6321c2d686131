"""What a dataset dict must be before anything is read or computed from it."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from detectron2.structures import BoxMode

SIDES = ("height", "width")
MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def check_record(record: Mapping[str, Any]) -> None:
    """Raises ValueError that names the image and the field, if one is not as Detectron2 has it."""
    file = record.get("file_name")
    if not is_file_name(file):
        raise ValueError(f"a dataset dict's `file_name` is {reprlib.repr(file)}, not a file's name")
    for field, name in record.items():
        if field.endswith("_file_name") and not is_file_name(name):
            raise ValueError(f"{file}: `{field}` is {reprlib.repr(name)}, not a file's name")
    sides = [record[side] for side in SIDES if side in record]
    if len(sides) == 1 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{file}: `height` and `width` are {reprlib.repr(sides)}, not two sizes")
    objects = record.get("annotations", ())
    if not isinstance(objects, list | tuple):
        raise ValueError(f"{file}: `annotations` is {reprlib.repr(objects)}, not a list")
    for number, found in enumerate(objects):
        problem = _object_problem(found)
        if problem:
            raise ValueError(f"{file}: `annotations` number {number}: {problem}")


def is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _object_problem(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"is {reprlib.repr(found)}, not a dict"
    kind = found.get("category_id")
    if type(kind) is not int or kind < 0:
        return f"`category_id` is {reprlib.repr(kind)}; it must be an int from 0 on"
    mode = found.get("bbox_mode")
    if not isinstance(mode, int) or mode not in MODES:
        return f"`bbox_mode` is {reprlib.repr(mode)}; it must be BoxMode.XYXY_ABS or XYWH_ABS"
    if found.get("iscrowd", 0) not in (0, 1):
        return f"`iscrowd` is {reprlib.repr(found['iscrowd'])}; it must be 0 or 1"
    box = found.get("bbox")
    try:
        if len(box) == 4 and all(map(math.isfinite, box)):
            return ""
    except (TypeError, OverflowError):
        pass
    return f"`bbox` is {reprlib.repr(box)}, not four finite numbers"
