"""Laws that the ground truth of every frame obeys."""

import numpy as np
import pytest
from roomgen.render import render_frame


def unproject(frame):
    """(H, W, 3) points in camera axes, by the pinhole model alone."""
    height, width = frame.depth.shape
    v, u = np.mgrid[:height, :width]
    k = frame.intrinsics
    x, y = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    return np.stack([x, y, np.ones_like(x)], axis=-1) * frame.depth[..., None].astype(np.float64)


def angles_to_depth_normals(frame):
    """Degrees between the normals and those of central differences, away from edges of depth."""
    points = unproject(frame)
    along_u = points[1:-1, 2:] - points[1:-1, :-2]
    along_v = points[2:, 1:-1] - points[:-2, 1:-1]
    estimate = np.cross(along_v, along_u)
    estimate /= np.linalg.norm(estimate, axis=-1, keepdims=True)
    cosine = (estimate * frame.normals[1:-1, 1:-1]).sum(axis=-1)
    jump = np.maximum(np.abs(along_u[..., 2]), np.abs(along_v[..., 2]))
    smooth = jump < 0.05 * frame.depth[1:-1, 1:-1]
    return np.degrees(np.arccos(np.clip(cosine[smooth], -1, 1)))


def test_normals_agree_with_the_depth(frames):
    for frame in frames:
        angles = angles_to_depth_normals(frame)
        assert len(angles) > 0.5 * frame.depth.size
        assert np.median(angles) < 3


def test_normals_are_unit_vectors_that_face_the_camera(frames):
    for frame in frames:
        normals = frame.normals.astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
        rays = unproject(frame) / frame.depth[..., None]
        assert ((normals * rays).sum(axis=-1) < 1e-6).all()


def test_floor_lies_in_the_plane_y_0_of_the_world(frames):
    seen = 0
    for frame in frames:
        ids = [i for i, thing in enumerate(frame.objects, start=1) if thing.name == "floor"]
        floor = unproject(frame)[np.isin(frame.instances, ids)]
        world = floor @ frame.camera_to_world[:3, :3].T + frame.camera_to_world[:3, 3]
        seen += len(world)
        assert (np.abs(world[:, 1]) < 1e-5).all()
    assert seen > 1000


def test_every_pixel_has_an_owner_and_none_shows_more_than_its_silhouette(frames):
    for frame in frames:
        assert frame.instances.dtype == np.uint16
        visible = np.bincount(frame.instances.ravel(), minlength=len(frame.objects) + 1)
        assert visible[0] == 0 and len(visible) == len(frame.objects) + 1
        full = np.array([thing.full_pixels for thing in frame.objects])
        assert (full >= visible[1:]).all() and (full > visible[1:]).any()


def test_a_frame_is_a_function_of_its_arguments(frames):
    again = render_frame(3, 4, 90, 120)
    for field in ("image", "depth", "normals", "instances"):
        np.testing.assert_array_equal(getattr(again, field), getattr(frames[3], field))
    assert (render_frame(4, 4, 90, 120).depth != again.depth).any()


# Of version 1 of the generator, which knew no styles: the mean red, green, blue and depth.
VERSION_1 = {
    0: (126.43, 126.76, 125.68, 2.4542),
    4: (109.67, 124.72, 121.92, 3.8626),
    8: (121.58, 125.74, 139.40, 2.8123),
    12: (156.94, 153.44, 132.39, 3.3619),
}


@pytest.mark.parametrize("index", VERSION_1)
def test_the_plain_style_is_what_it_was_before_there_were_styles(index):
    frame = render_frame(3, index, 60, 80, style="plain")
    means = (*frame.image.mean(axis=(0, 1)), frame.depth.mean(dtype=np.float64))
    # One more or one less draw of a random number anywhere changes everything.
    np.testing.assert_allclose(means, VERSION_1[index], atol=0.02, rtol=1e-4)
