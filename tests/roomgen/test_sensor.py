from types import SimpleNamespace

import numpy as np
import pytest
from roomgen.camera import intrinsics, pixel_rays
from roomgen.sensor import kinect_holes, projector_shadow

HEIGHT, WIDTH = 480, 640
WALL_DEPTH = 4.0
EYE_HEIGHT = 1.2
# Depth, rows, columns; later ones stand before earlier ones.
UPRIGHT_THINGS = (
    (2.0, slice(200, 380), slice(100, 220)),
    (1.5, slice(220, 400), slice(300, 420)),
    (2.5, slice(250, 320), slice(480, 560)),
    (3.0, slice(100, 120), slice(500, 520)),
    (3.0, slice(100, 120), slice(540, 560)),
)


@pytest.fixture(scope="module")
def frame():
    """Wall, floor and five upright things."""
    _, y = pixel_rays(intrinsics(HEIGHT, WIDTH), HEIGHT, WIDTH)
    depth = np.full((HEIGHT, WIDTH), WALL_DEPTH, dtype=np.float32)
    normals = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    normals[..., 2] = -1
    instances = np.ones((HEIGHT, WIDTH), dtype=np.uint16)
    on_floor = y * WALL_DEPTH > EYE_HEIGHT
    depth[on_floor] = (EYE_HEIGHT / y[on_floor])[:, None]
    normals[on_floor] = (0, -1, 0)
    instances[on_floor] = 2
    for index, (distance, rows, columns) in enumerate(UPRIGHT_THINGS, start=3):
        depth[rows, columns] = distance
        normals[rows, columns] = (-0.6, 0, -0.8)
        instances[rows, columns] = index
    return SimpleNamespace(depth=depth, normals=normals, instances=instances)


@pytest.fixture(scope="module")
def holed(frame):
    return kinect_holes(frame.depth, frame.normals, frame.instances, np.random.default_rng(0))


def test_valid_pixels_keep_their_depth_and_the_rest_is_zero(frame, holed):
    assert holed.dtype == np.float32
    valid = holed > 0
    np.testing.assert_array_equal(holed[valid], frame.depth[valid])
    np.testing.assert_array_equal(holed[~valid], 0)


def test_nothing_outside_the_projection_window(holed):
    rows, columns = np.nonzero(holed)
    assert rows.min() == 44 and rows.max() == 470
    assert columns.min() == 40 and columns.max() == 600


def test_shadow_lies_to_the_left_and_has_the_width_of_the_parallax(frame):
    shadow = projector_shadow(frame.depth)
    depth, rows, columns = UPRIGHT_THINGS[0]
    row = shadow[rows.start + 20]
    # f b (1/z_near - 1/z_far) = 518.86 px * 0.075 m * (1/2 m - 1/4 m) = 9.7 px
    width = 518.86 * 0.075 * (1 / depth - 1 / WALL_DEPTH)
    left = np.flatnonzero(row[: columns.start])
    assert abs(len(left) - width) <= 1.5
    assert columns.start - len(left) == left.min()
    assert not row[columns.start : columns.stop + 40].any()


def test_a_plane_casts_no_shadow_on_itself():
    depth = np.broadcast_to(np.linspace(2, 6, 640, dtype=np.float32), (8, 640))
    assert not projector_shadow(depth).any()
    assert not projector_shadow(depth[:, ::-1]).any()


def test_shadow_of_a_slanted_thing_has_no_stripes():
    # The projector sees 40 columns of it as 518.86 * 0.075 * (1/0.6 - 1/1.2) + 40 = 72 columns.
    depth = np.full((8, 640), WALL_DEPTH, dtype=np.float32)
    depth[:, 300:340] = np.linspace(0.6, 1.2, 40)
    shadow = projector_shadow(depth)
    # Its near edge is seen at 300 - 64.9 = 235, where the wall's column is 235 + 9.7 = 245.
    assert shadow[:, 246:300].all()
    assert not shadow[:, :244].any() and not shadow[:, 300:].any()
