import functools
from typing import NamedTuple

import numpy as np
import pytest
from roomgen.render import render_frame
from roomgen.sensor import kinect_holes, kinect_noise

from rock_d2.data.datasets.normals_from_depth import normals_from_depth
from rock_d2.data.datasets.nyuv2 import INTRINSICS

CAMERA = (120.0, 110.0, 39.5, 29.5)


class Angles(NamedTuple):
    median: float
    mean: float
    within_11: float  # share of the pixels


@functools.cache
def frames():
    return [render_frame(3, 3 * room, 480, 640) for room in range(4)]


def angles(pairs):
    """Of all pixels with a vector, over all frames."""
    found = []
    for normals, truth in pairs:
        known = (normals != 0).any(axis=2)
        cosine = np.einsum("pc,pc->p", normals[known], truth[known])
        found.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    found = np.concatenate(found)
    return Angles(float(np.median(found)), float(found.mean()), float((found < 11.25).mean()))


def plane(normal, distance, shape=(60, 80)):
    """Depth of the plane n . P = -distance for a normal that faces the camera."""
    fx, fy, cx, cy = CAMERA
    x = (np.arange(shape[1]) - cx) / fx
    y = (np.arange(shape[0])[:, None] - cy) / fy
    return -distance / (normal[0] * x + normal[1] * y + normal[2])


def unit(*vector):
    return np.array(vector) / np.linalg.norm(vector)


@pytest.mark.parametrize(
    "normal", [(0, 0, -1), unit(1, 0, -1), unit(-1, 0, -2), unit(0, -1.2, -1), unit(0.5, 0.5, -1)]
)
def test_planes_are_exact(normal):
    depth = plane(normal, 2.0)
    assert (depth > 0).all()
    normals = normals_from_depth(depth, CAMERA)
    assert normals.dtype == np.float32 and normals.shape == (60, 80, 3)
    np.testing.assert_allclose(normals, np.broadcast_to(normal, normals.shape), atol=2e-3)


def test_corner_between_two_walls_is_sharp():
    left, right = unit(1, 0, -1), unit(-1, 0, -1)
    depths = plane(left, 2.0), plane(right, 2.0)
    # The nearer of the two is in sight: a convex edge where they meet in the middle column.
    depth = np.minimum(*depths)
    truth = np.where((depths[0] < depths[1])[..., None], left, right)
    cosine = np.einsum("hwc,hwc->hw", normals_from_depth(depth, CAMERA), truth)
    # Within a window of the corner a mixture would be off by up to 45 degrees.
    assert (cosine > np.cos(np.radians(1))).mean() > 0.97


def test_surfaces_do_not_mix_across_a_step_in_depth():
    depth = np.full((60, 80), 3.0)
    depth[:, 40:] = 2.0
    normals = normals_from_depth(depth, CAMERA)
    np.testing.assert_allclose(normals, np.broadcast_to([0, 0, -1], normals.shape), atol=1e-3)


def test_holes_and_pixels_of_too_few_neighbours_are_unknown_and_do_not_disturb():
    normal = unit(0, -1, -1)
    depth = plane(normal, 2.0)
    depth[20:30, 30:50] = 0
    normals = normals_from_depth(depth, CAMERA)
    np.testing.assert_array_equal((normals != 0).any(axis=2), depth > 0)
    np.testing.assert_allclose(
        normals[depth > 0], np.broadcast_to(normal, ((depth > 0).sum(), 3)), atol=2e-3
    )
    few = np.zeros((60, 80))
    few[30, :] = few[10:12, 10:12] = 2.0
    assert not normals_from_depth(few, CAMERA).any()


@pytest.mark.parametrize(
    "bad", [np.full((4, 4), np.nan), np.full((4, 4), -1.0), np.ones((4, 4, 1))]
)
def test_bad_depth_is_refused(bad):
    with pytest.raises(ValueError, match="unknown pixels are 0"):
        normals_from_depth(bad, CAMERA)


def test_exact_depth_of_rooms():
    normals = normals_from_depth(frames()[0].depth, INTRINSICS)
    lengths = np.linalg.norm(normals, axis=2)
    np.testing.assert_allclose(lengths[lengths > 0], 1, atol=1e-5)
    found = angles((normals_from_depth(f.depth, INTRINSICS), f.normals) for f in frames())
    # Measured: 0.00 degrees, 3.2 degrees, 93 %.
    assert found.median < 0.05 and found.mean < 4 and found.within_11 > 0.92


def test_sensor_depth_of_rooms():
    """Kinect's steps at 4 m are 46 mm: more than a chair's leg is thick."""
    pairs = []
    for index, frame in enumerate(frames()):
        rng = np.random.default_rng(index)
        depth = kinect_noise(kinect_holes(frame.depth, frame.normals, frame.instances, rng), rng)
        normals = normals_from_depth(depth, INTRINSICS)
        assert ((normals != 0).any(axis=2) & (depth > 0)).sum() > 0.99 * (depth > 0).sum()
        pairs.append((normals, frame.normals))
    found = angles(pairs)
    # Measured: 5.3 degrees, 8.9 degrees, 82 %.
    assert found.median < 6 and found.mean < 10 and found.within_11 > 0.8
