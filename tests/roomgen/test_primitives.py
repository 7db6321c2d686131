"""Rays against canonical solids, with the arithmetic beside each number."""

import numpy as np
import pytest
from roomgen.primitives import (
    BOX,
    CUP,
    ELLIPSOID,
    FRUSTUM,
    Primitives,
    canonical_normals,
    intersect,
)


def hit(kind, origin, direction, taper=1.0):
    direction = np.array(direction, np.float64).reshape(3, 1)
    return float(intersect(kind, taper, np.array(origin, np.float64), direction)[0])


def normal(kind, origin, direction, taper=1.0):
    t = hit(kind, origin, direction, taper)
    rows = [np.array([v], np.float64) for v in (origin, direction)]
    found = canonical_normals(np.array([kind]), np.array([taper]), *rows, np.array([t]))[0]
    return found / np.linalg.norm(found)


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "taper", "expected"),
    [
        (BOX, (0, 0, -5), (0, 0, 1), 1.0, 4.0),  # face z = -1
        (BOX, (0, 0, -5), (0, 0, 2), 1.0, 2.0),  # t counts in lengths of the direction
        (BOX, (-3, 0, -2), (1, 0, 0.5), 1.0, 2.0),  # x = -1 at t = 2, where z = -1: an edge
        (BOX, (-3, 0, -2), (1, 0, 0.0), 1.0, np.inf),  # passes at z = -2
        (BOX, (0, 0, 5), (0, 0, 1), 1.0, np.inf),  # lies behind
        (ELLIPSOID, (0, 0, -3), (0, 0, 1), 1.0, 2.0),
        (ELLIPSOID, (0.6, 0, -3), (0, 0, 1), 1.0, 2.2),  # z = -sqrt(1 - 0.36) = -0.8
        (ELLIPSOID, (1.01, 0, -3), (0, 0, 1), 1.0, np.inf),
        (FRUSTUM, (0, 0, -3), (0, 0, 1), 1.0, 2.0),  # a cylinder's side
        (FRUSTUM, (0, 0, -3), (0, 0, 1), 0.5, 2.25),  # half-way up the radius is 0.75
        (FRUSTUM, (0.4, -3, 0), (0, 1, 0), 0.5, 2.0),  # the top, y = -1, of radius 0.5
        (
            FRUSTUM,
            (0.75, -3, 0),
            (0, 1, 0),
            0.5,
            3.0,
        ),  # beside the top: side of radius 0.75 at y = 0
        (FRUSTUM, (0.75, 3, 0), (0, -1, 0), 0.5, 2.0),  # the bottom, y = 1
        (CUP, (0, -3, 0), (0, 1, 0), 1.0, 4.0),  # through the open top to the bottom
        (CUP, (-1.5, -2, 0), (1, 1, 0), 1.0, 2.5),  # over the rim to the far wall, x = 1, y = 0.5
        (CUP, (-2.5, -2, 0), (1, 1, 0), 1.0, 1.5),  # the near wall from outside, x = -1, y = -0.5
    ],
)
def test_first_hit(kind, origin, direction, taper, expected):
    assert hit(kind, origin, direction, taper) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "taper", "expected"),
    [
        (BOX, (0.3, 0, -5), (0, 0, 1), 1.0, (0, 0, -1)),
        (BOX, (5, 0.2, 0), (-1, 0, 0), 1.0, (1, 0, 0)),
        (ELLIPSOID, (0.6, 0, -3), (0, 0, 1), 1.0, (0.6, 0, -0.8)),
        # The radius shrinks by 0.5 over a height of 2: the side leans up (to -y) by atan(1 / 4).
        (FRUSTUM, (0, 0, -3), (0, 0, 1), 0.5, np.array([0, -1, -4]) / np.sqrt(17)),
        (FRUSTUM, (0.1, -3, 0), (0, 1, 0), 0.5, (0, -1, 0)),
        (CUP, (0, -3, 0), (0, 1, 0), 1.0, (0, -1, 0)),  # the bottom, seen from inside
        (CUP, (-1.5, -2, 0), (1, 1, 0), 1.0, (-1, 0, 0)),  # the far wall, seen from inside
    ],
)
def test_normal_faces_the_ray(kind, origin, direction, taper, expected):
    np.testing.assert_allclose(normal(kind, origin, direction, taper), expected, atol=1e-9)


def test_hits_lie_on_the_ellipsoid_under_a_transform():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    half = np.array([0.3, 0.05, 0.8])
    solid = Primitives(
        np.array([ELLIPSOID]), np.ones(1), np.array([[0.2, 0.1, 4.0]]), half[None], rotation[None]
    )
    rays = np.stack([*rng.uniform(-0.12, 0.12, (2, 500)), np.ones(500)])
    a = solid.to_canonical()[0]
    t = intersect(ELLIPSOID, 1.0, -a @ solid.centre[0], a @ rays)
    seen = t < np.inf
    assert 50 < seen.sum() < 500
    local = rotation.T @ (rays[:, seen] * t[seen] - solid.centre.T)
    np.testing.assert_allclose(((local / half[:, None]) ** 2).sum(axis=0), 1.0, atol=1e-9)
