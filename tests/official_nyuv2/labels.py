"""A frame as NYUv2's annotators leave it: label and instance of every pixel, gaps and border."""

import csv
import functools
from collections import Counter
from pathlib import Path

import numpy as np
from roomgen.frame import Frame

NAMES_FILE = Path(__file__).parents[2] / "datasets" / "nyuv2prep" / "nyu894_to_40.csv"

# Rows at the top and bottom, columns at the left and right that hold no picture in NYUv2.
BORDER_TOP, BORDER_BOTTOM, BORDER_LEFT, BORDER_RIGHT = 6, 6, 7, 8


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


def labels_and_instances(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (H, W) labels, 1 to 894, and uint8 (H, W) instance ids, from 1 in every class."""
    instances = np.where(label_gaps(frame.instances), 0, frame.instances)
    label_of = np.zeros(len(frame.objects) + 1, dtype=np.uint16)
    instance_of = np.zeros(len(frame.objects) + 1, dtype=np.uint8)
    used: Counter[str] = Counter()
    for index in np.unique(instances[instances > 0]):
        name = frame.objects[index - 1].name
        used[name] += 1
        label_of[index], instance_of[index] = label_ids()[name], used[name]
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
