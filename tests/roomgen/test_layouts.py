"""Statistics and geometry of the rooms before anything is rendered."""

from collections import Counter

import numpy as np
import pytest
from roomgen.coverings import COVERINGS
from roomgen.layouts import SCENES, Layout
from roomgen.render import room_layout
from roomgen.scene_looks import LOOKS, PLAIN
from roomgen.styles import OTHER, STYLES, TYPICAL

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, THING_CLASSES

_STRUCTURE = {"wall", "floor", "ceiling", "floor trim"}


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return [room_layout(0, sequence) for sequence in range(120)]


@pytest.fixture(scope="module")
def other_layouts() -> list[Layout]:
    return [room_layout(0, sequence, "other") for sequence in range(120)]


def test_all_classes_and_scene_types_occur(layouts, other_layouts):
    for rooms, classes in ((layouts, THING_CLASSES), (other_layouts, OTHER.classes)):
        rooms_with = Counter(name for room in rooms for name in {p.name for p in room.pieces})
        for name in classes:
            assert rooms_with[name] >= 0.02 * len(rooms), name
    assert set(SCENES) <= set(SCENE_CLASSES)
    assert len({room.scene_type for room in layouts}) >= 8


def test_things_stay_inside_the_room(layouts, other_layouts):
    for room in layouts + other_layouts:
        for thing in room.pieces:
            if thing.name not in _STRUCTURE:
                x, z = np.abs(thing.extent.corners()).max(axis=0)
                assert x <= room.width / 2 + 1e-9 and z <= room.depth / 2 + 1e-9
                assert thing.extent.top <= room.height + 1e-9
                assert thing.extent.bottom >= -2e-3


def test_furniture_does_not_intersect(layouts, other_layouts):
    large = {"bed", "sofa", "desk", "dresser", "toilet", "bathtub", "bookshelf", "counter", "door"}
    for room in layouts + other_layouts:
        things = [p for p in room.pieces if p.name in large]
        for i, first in enumerate(things):
            assert not any(first.extent.overlaps(other.extent) for other in things[i + 1 :])


def test_each_scene_type_has_a_look_of_known_coverings_with_chances_that_sum_to_1():
    assert set(LOOKS) == set(SCENES)
    for look in [look for style in STYLES.values() for look in style.looks.values()]:
        for chances in (look.floor, look.wall, look.ceiling, look.furniture, look.joinery):
            assert set(chances) <= set(COVERINGS)
            assert sum(chances.values()) == pytest.approx(1)


def test_a_share_of_the_typical_rooms_and_all_plain_ones_look_plain(layouts):
    plain = sum(room.look is PLAIN for room in layouts)
    # Four standard deviations of a binomial of 120 rooms.
    share = TYPICAL.plain_share
    spread = 4 * np.sqrt(len(layouts) * share * (1 - share))
    assert abs(plain - len(layouts) * share) < spread and plain > 0
    assert all(room_layout(0, sequence, "plain").look is PLAIN for sequence in range(3))
