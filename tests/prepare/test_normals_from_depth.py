import numpy as np
import pytest
from normals_from_depth import normals_from_depth
from roomgen.render import render_frame

from rock_d2.data.datasets.nyuv2 import INTRINSICS

CAMERA = (120.0, 110.0, 39.5, 29.5)


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


def test_exact_depth_of_rooms():
    frame = render_frame(3, 0, 480, 640)
    normals = normals_from_depth(frame.depth, INTRINSICS)
    lengths = np.linalg.norm(normals, axis=2)
    np.testing.assert_allclose(lengths[lengths > 0], 1, atol=1e-5)
    known = (normals != 0).any(axis=2)
    cosine = np.einsum("pc,pc->p", normals[known], frame.normals[known])
    angles = np.degrees(np.arccos(cosine.clip(-1, 1)))
    # A few pixels at edges mix two surfaces.
    assert np.median(angles) < 0.05 and (angles < 11.25).mean() > 0.9
