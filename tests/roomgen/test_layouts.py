"""Statistics and geometry of the rooms before anything is rendered."""

from collections import Counter

import numpy as np
import pytest
from roomgen.layouts import SCENES, Layout, scene_type_of
from roomgen.materials import plain
from roomgen.parts import Extent, box, piece
from roomgen.render import room_layout

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, THING_CLASSES

_STRUCTURE = {"wall", "floor", "ceiling", "floor trim"}


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return [room_layout(0, sequence) for sequence in range(120)]


def test_all_classes_and_scene_types_occur(layouts):
    rooms_with = Counter(name for room in layouts for name in {p.name for p in room.pieces})
    for name in THING_CLASSES:
        assert rooms_with[name] >= 0.03 * len(layouts), name
    assert set(SCENES) <= set(SCENE_CLASSES)
    assert len({room.scene_type for room in layouts}) >= 8


@pytest.mark.parametrize("first", [0, 267, 1000])
def test_any_run_of_rooms_has_the_scene_types_in_proportion(first):
    counts = Counter(scene_type_of(0, first + i) for i in range(67))
    total = sum(scene.weight for scene in SCENES.values())
    for name, scene in SCENES.items():
        assert abs(counts[name] - 67 * scene.weight / total) < 2, name


def test_scene_types_have_their_objects(layouts):
    names = {"bathroom": "toilet", "bedroom": "bed", "kitchen": "sink", "living_room": "sofa"}
    for scene_type, name in names.items():
        has = {True: [], False: []}
        for room in layouts:
            has[room.scene_type == scene_type].append(any(p.name == name for p in room.pieces))
        assert np.mean(has[True]) > np.mean(has[False]) + 0.4


def test_things_stay_inside_the_room(layouts):
    for room in layouts:
        for thing in room.pieces:
            if thing.name not in _STRUCTURE:
                x, z = np.abs(thing.extent.corners()).max(axis=0)
                assert x <= room.width / 2 + 1e-9 and z <= room.depth / 2 + 1e-9
                assert thing.extent.top <= room.height + 1e-9
                assert thing.extent.bottom >= -2e-3


def test_large_things_stand_on_the_floor(layouts):
    for room in layouts:
        for thing in room.pieces:
            if thing.name in {"bed", "sofa", "desk", "dresser", "toilet", "bathtub", "bookshelf"}:
                assert thing.extent.bottom == pytest.approx(0, abs=2e-3), thing.name


def test_furniture_does_not_intersect(layouts):
    large = {"bed", "sofa", "desk", "dresser", "toilet", "bathtub", "bookshelf", "counter", "door"}
    for room in layouts:
        things = [p for p in room.pieces if p.name in large]
        for i, first in enumerate(things):
            assert not any(first.extent.overlaps(other.extent) for other in things[i + 1 :])


def test_extent_of_a_moved_piece():
    made = piece("box", [box(plain((0.5, 0.5, 0.5)), (2.0, 0.4, 1.0), (0.0, 0.1, 0.0))])
    assert (made.width, made.depth, made.height) == pytest.approx((2.0, 1.0, 0.5))
    # A quarter turn to the right: the length of 2 m now runs along z.
    moved = made.moved(x=3.0, z=1.0, up=0.2, yaw=np.pi / 2)
    corners = moved.extent.corners()
    np.testing.assert_allclose(corners.min(axis=0), [2.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(corners.max(axis=0), [3.5, 2.0], atol=1e-12)
    np.testing.assert_allclose(moved.parts[0].centre, [3.0, -0.5, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    ("x", "yaw", "expected"),
    [
        (0.9, 0.0, True),
        (1.1, 0.0, False),
        # Turned by 45 degrees a unit square reaches sqrt(2) / 2 = 0.707 to the side.
        (1.15, np.pi / 4, True),
        (1.25, np.pi / 4, False),
    ],
)
def test_overlap_of_upright_boxes(x, yaw, expected):
    first = Extent(0, 0, 0.5, 0.5, bottom=0, top=1)
    other = Extent(x, 0, 0.5, 0.5, bottom=0.5, top=2, yaw=yaw)
    assert first.overlaps(other) == other.overlaps(first) == expected
    above = Extent(x, 0, 0.5, 0.5, bottom=1, top=2, yaw=yaw)
    assert not first.overlaps(above)
