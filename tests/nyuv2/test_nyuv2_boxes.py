"""Boxes of hand-made frames of 6 x 8 pixels."""

import numpy as np
import pytest
from nyuv2prep.boxes import category_table, frame_objects
from official_nyuv2.labels import label_ids

from rock_d2.data.datasets.nyuv2 import THING_CLASSES

CATEGORIES = category_table(list(label_ids()))
CHAIR, TABLE, COFFEE_TABLE = (label_ids()[name] for name in ("chair", "table", "coffee table"))


def objects(labels, instances, convention="full", index=0, min_area=0):
    found = frame_objects(
        labels, instances, CATEGORIES, convention=convention, index=index, min_area=min_area
    )
    return [(THING_CLASSES[a["category_id"] - 1], a["bbox"], a["area"]) for a in found]


@pytest.fixture
def frame():
    labels, instances = np.zeros((6, 8), np.uint16), np.zeros((6, 8), np.uint8)
    labels[0:2, 0:3], instances[0:2, 0:3] = CHAIR, 1
    labels[3, 1], instances[3, 1] = CHAIR, 2
    labels[5, 7], instances[5, 7] = CHAIR, 2
    labels[4, 4], instances[4, 4] = TABLE, 1
    labels[4, 5:7], instances[4, 5:7] = COFFEE_TABLE, 1
    labels[0, 7] = CHAIR
    return labels, instances


def test_category_is_the_exact_name():
    assert np.count_nonzero(CATEGORIES) == 19
    assert CATEGORIES[CHAIR] == 5 and CATEGORIES[TABLE] == 17 and CATEGORIES[COFFEE_TABLE] == 0
    assert CATEGORIES[0] == 0


def test_an_object_is_a_pair_of_label_and_instance(frame):
    assert objects(*frame) == [
        ("chair", [0, 0, 3, 2], 6),
        ("chair", [1, 3, 7, 3], 2),  # two pixels far apart
        ("table", [4, 4, 1, 1], 1),
    ]


def test_min_area_counts_pixels(frame):
    assert objects(*frame, min_area=2) == objects(*frame)[:2]
    assert objects(*frame, min_area=7) == []


def test_port_drops_the_last_row_and_column(frame):
    boxes = [("chair", [0, 0, 2, 1], 6), ("chair", [1, 3, 6, 2], 2), ("table", [4, 4, 0, 0], 1)]
    assert objects(*frame, convention="port") == boxes


def test_port_drops_the_label_that_equals_the_frame(frame):
    assert CHAIR == 5 and TABLE == 19
    kinds = [
        {name for name, *_ in objects(*frame, convention="port", index=index)}
        for index in (0, 5, 19, 1448)
    ]
    assert kinds == [{"chair", "table"}, {"table"}, {"chair"}, {"chair", "table"}]
    assert {name for name, *_ in objects(*frame, index=5)} == {"chair", "table"}


def test_frame_without_objects():
    assert objects(np.zeros((6, 8), np.uint16), np.zeros((6, 8), np.uint8)) == []
