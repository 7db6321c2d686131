"""A frame as NYUv2's annotators leave it: label and instance of every pixel, gaps and border."""

import csv
import functools
from collections import defaultdict
from pathlib import Path

import numpy as np

from rock_d2.data.datasets.nyuv2 import THING_CLASSES
from roomgen.frame import Frame

NAMES_FILE = Path(__file__).resolve().parents[1] / "nyuv2prep" / "nyu894_to_40.csv"

# Rows at the top and bottom, columns at the left and right that hold no picture in NYUv2.
BORDER_TOP, BORDER_BOTTOM, BORDER_LEFT, BORDER_RIGHT = 6, 6, 7, 8
# Public converters tell instances apart by (label << 6) + instance; NYUv2 itself ends at 37.
MAX_INSTANCE_ID = 63
BUILDING = frozenset({"wall", "floor", "ceiling", "window"})
STRAY_LARGEST_AREA = 0.005


def label_gaps(instances: np.ndarray) -> np.ndarray:
    """bool (H, W): where NYUv2 has label 0, along the image border and between two instances.

    A gap is two pixels wide, one on each side of an edge.
    """
    gaps = ~_inside_border(instances.shape)
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    gaps[:, 1:] |= across
    gaps[:, :-1] |= across
    gaps[1:] |= down
    gaps[:-1] |= down
    return gaps


def with_white_border(image: np.ndarray) -> np.ndarray:
    """A copy of the image with the white frame that NYUv2's images have."""
    return np.where(_inside_border(image.shape[:2])[..., None], image, np.uint8(255))


def stray_object(frame: Frame) -> int:
    """The value in ``frame.instances`` that gets a label but instance id 0; 0 if there is none.

    It is the last small thing in view that is neither one of the 19 classes nor part of the
    building, so that no box depends on what a converter does with instance 0.
    """
    areas = _visible_areas(frame)
    small = STRAY_LARGEST_AREA * frame.instances.size
    strays = [
        index
        for index, thing in enumerate(frame.objects, start=1)
        if 0 < areas[index] <= small and thing.name not in BUILDING.union(THING_CLASSES)
    ]
    return strays[-1] if strays else 0


def labels_and_instances(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (H, W) labels, 1 to 894, and uint8 (H, W) instance ids, from 1 in every class."""
    areas = _visible_areas(frame)
    stray = stray_object(frame)
    label_of = np.zeros(len(areas), dtype=np.uint16)
    instance_of = np.zeros(len(areas), dtype=np.uint8)
    used: dict[str, int] = defaultdict(int)
    for index, thing in enumerate(frame.objects, start=1):
        if areas[index] == 0:
            continue
        if thing.name not in label_ids():
            raise ValueError(f"{frame.sequence}: '{thing.name}' is not a name in {NAMES_FILE.name}")
        label_of[index] = label_ids()[thing.name]
        if index == stray:
            continue
        used[thing.name] += 1
        if used[thing.name] > MAX_INSTANCE_ID:
            raise ValueError(
                f"{frame.sequence}: more than {MAX_INSTANCE_ID} of '{thing.name}' in view; "
                "render fewer of them or merge them"
            )
        instance_of[index] = used[thing.name]
    instances = _without_gaps(frame.instances)
    return label_of[instances], instance_of[instances]


@functools.cache
def label_ids() -> dict[str, int]:
    """The 894 names in the order of their ids."""
    with open(NAMES_FILE, newline="", encoding="utf-8") as file:
        return {row["name894"]: int(row["id894"]) for row in csv.DictReader(file)}


def _inside_border(shape: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(shape, dtype=bool)
    inside[BORDER_TOP:-BORDER_BOTTOM, BORDER_LEFT:-BORDER_RIGHT] = True
    return inside


def _without_gaps(instances: np.ndarray) -> np.ndarray:
    return np.where(label_gaps(instances), np.zeros_like(instances), instances)


def _visible_areas(frame: Frame) -> np.ndarray:
    """Pixels left of each object beside the gaps; entry 0 is what belongs to nothing."""
    return np.bincount(_without_gaps(frame.instances).ravel(), minlength=len(frame.objects) + 1)
