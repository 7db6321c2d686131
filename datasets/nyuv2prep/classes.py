"""The 40 classes of Gupta et al., CVPR 2013, of NYUv2's 894 label names."""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rock_d2.tasks.class_maps import UNKNOWN

# By label number and name: the class, counted from 1, and its name, among others.
TABLE = Path(__file__).with_name("nyu894_to_40.csv")


@cache
def class_of_name() -> dict[str, int]:
    """Return the class, 0 to 39, of each label name."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {row["name894"]: int(row["id40"]) - 1 for row in csv.DictReader(file)}


def class_table(names: Sequence[str]) -> np.ndarray:
    """Return uint8 (len(names) + 1,): the class of each label, which counts from 1."""
    return np.array([UNKNOWN, *(class_of_name()[name] for name in names)], dtype=np.uint8)
