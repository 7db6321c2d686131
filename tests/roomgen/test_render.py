"""Laws that the ground truth of every frame obeys."""

import csv
from pathlib import Path

import numpy as np
import pytest
import roomgen
from roomgen.camera import intrinsics
from roomgen.render import render_frame

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES


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


def test_depth_is_positive_and_finite(frames):
    for frame in frames:
        assert frame.depth.dtype == np.float32
        assert np.isfinite(frame.depth).all() and frame.depth.min() > 0 and frame.depth.max() < 10


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


def test_camera_stands_at_eye_height(frames):
    for frame in frames:
        rotation, (_, y, _) = frame.camera_to_world[:3, :3], frame.camera_to_world[:3, 3]
        assert 1.2 <= -y <= 1.7
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_every_pixel_has_an_owner_and_none_shows_more_than_its_silhouette(frames):
    for frame in frames:
        assert frame.instances.dtype == np.uint16
        visible = np.bincount(frame.instances.ravel(), minlength=len(frame.objects) + 1)
        assert visible[0] == 0 and len(visible) == len(frame.objects) + 1
        full = np.array([thing.full_pixels for thing in frame.objects])
        assert (full >= visible[1:]).all() and (full > visible[1:]).any()


def test_names_are_those_of_nyuv2(frames):
    table = Path(roomgen.__file__).parents[1] / "nyuv2prep" / "nyu894_to_40.csv"
    with table.open(newline="") as file:
        known = {row["name894"] for row in csv.DictReader(file)}
    assert len(known) == 894
    for frame in frames:
        assert {thing.name for thing in frame.objects} <= known
        scene_type, _, number = frame.sequence.rpartition("_")
        assert scene_type == frame.scene_type in SCENE_CLASSES and len(number) == 4


def test_frames_of_a_room_share_it_but_not_the_view(frames):
    first, second = frames[0], frames[1]
    assert first.sequence == second.sequence != frames[2].sequence
    assert not np.allclose(first.camera_to_world, second.camera_to_world)


def test_a_frame_is_a_function_of_its_arguments(frames):
    again = render_frame(3, 4, 90, 120)
    for field in ("image", "depth", "normals", "instances"):
        np.testing.assert_array_equal(getattr(again, field), getattr(frames[3], field))
    assert (render_frame(4, 4, 90, 120).depth != again.depth).any()


def test_geometry_does_not_depend_on_the_size(frames):
    # Tripling the size puts every third pixel's centre, from the second on, on an old one.
    large = render_frame(3, 0, 270, 360)
    np.testing.assert_allclose(large.depth[1::3, 1::3], frames[0].depth, rtol=1e-5)


def test_intrinsics_at_other_sizes():
    np.testing.assert_allclose(
        intrinsics(480, 640)[[0, 1, 0, 1], [0, 1, 2, 2]],
        [518.857901, 519.469611, 324.582449, 252.736164],
        atol=1e-6,
    )
    # Half the size: (324.582449 + 0.5) / 2 - 0.5 = 162.0412245.
    half = intrinsics(240, 320)
    assert half[0, 2] == pytest.approx(162.0412245, abs=1e-6)
    assert half[0, 0] == pytest.approx(259.4289505, abs=1e-6)
