"""How labels follow the transforms of their image: laws of geometry."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, ScaleTransform, VFlipTransform
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_d2.data.augmentation import ZoomOutTransform
from rock_d2.tasks import Depth, Normals, Scene

HEIGHT, WIDTH, FOCAL = 60, 80, 70.0
CENTRE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def plane(normal: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth and normals of the plane normal . P = -distance, which the camera sees."""
    x, y = np.meshgrid(np.arange(WIDTH) - CENTRE[0], np.arange(HEIGHT) - CENTRE[1])
    rays = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], axis=-1)
    depth = -distance / (rays @ normal)
    return depth.astype(np.float32), np.broadcast_to(np.float32(normal), rays.shape).copy()


def normals_of(depth: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Normals of the surface through the un-projected pixels, by differences; (H - 1, W - 1, 3)."""
    rows, columns = depth.shape
    x, y = np.meshgrid(np.arange(columns) - centre[0], np.arange(rows) - centre[1])
    points = np.stack([x * depth / focal, y * depth / focal, depth], axis=-1).astype(np.float64)
    right, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
    normals = np.cross(down, right)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def unit(nx: float, ny: float) -> np.ndarray:
    """The direction of (nx, ny, -1)."""
    return np.array([nx, ny, -1.0]) / np.linalg.norm([nx, ny, -1.0])


def degrees_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.einsum("hwc,hwc->hw", first, second).clip(-1, 1)))


slopes = st.floats(-0.7, 0.7)


@given(slopes, slopes, st.floats(0.35, 1), st.floats(0, 1), st.floats(0, 1), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_zoomed_plane_is_the_plane_that_its_normals_say(nx, ny, side, left, top, mirrored):
    depth, normals = plane(unit(nx, ny), distance=2.0)
    w, h = round(WIDTH * side), round(HEIGHT * side)
    x0, y0 = round(left * (WIDTH - w)), round(top * (HEIGHT - h))
    transforms = T.TransformList([T.CropTransform(x0, y0, w, h, orig_w=WIDTH, orig_h=HEIGHT)])
    centre = (CENTRE[0] - x0, CENTRE[1] - y0)
    if mirrored:
        transforms += T.TransformList([T.HFlipTransform(w)])
        centre = (w - 1 - centre[0], centre[1])
    moved = Depth().transform(depth, transforms)
    turned = Normals().transform(normals, transforms)
    # The crop, shown at the image's size, has pixels WIDTH / w times as far apart.
    found = normals_of(moved, focal=FOCAL * w / WIDTH, centre=centre)
    assert degrees_between(found, turned[:-1, :-1]).max() < 2
    assert (turned[..., 2] < 0).all()


@given(slopes, slopes, st.integers(0, 20))
@settings(deadline=None, max_examples=30)
def test_a_plane_zoomed_out_is_the_plane_that_its_normals_say(nx, ny, margin):
    depth, normals = plane(unit(nx, ny), distance=2.0)
    pad = ZoomOutTransform(
        4 * margin, 3 * margin, 0, 0, orig_w=WIDTH, orig_h=HEIGHT, fill=(1.0, 2.0, 3.0)
    )
    padded = Depth().transform(depth, T.TransformList([pad]))
    turned = Normals().transform(normals, T.TransformList([pad]))
    # Shown at the image's size, the pixels of the larger canvas are closer together.
    focal = FOCAL * padded.shape[1] / WIDTH
    found = normals_of(padded[3 * margin :, 4 * margin :], focal, CENTRE)
    assert degrees_between(found, turned[3 * margin : -1, 4 * margin : -1]).max() < 2
    assert not padded[: 3 * margin].any() and not turned[:, : 4 * margin].any()


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    normals = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    unknown = rng.uniform(size=(HEIGHT, WIDTH)) < 0.3
    depth[unknown] = 0
    normals[unknown] = 0
    return {Depth(): depth, Normals(): normals, Scene(): 7}


@pytest.mark.parametrize("flip", [T.HFlipTransform(WIDTH), VFlipTransform(HEIGHT)])
def test_a_flip_twice_is_the_identity_on_every_label(labels, flip):
    for task, label in labels.items():
        once = task.transform(label, T.TransformList([flip]))
        np.testing.assert_array_equal(task.transform(once, T.TransformList([flip])), label)
        assert task.name == "scene" or not np.array_equal(once, label)


def test_flips_negate_the_component_that_they_mirror(labels):
    normals = labels[Normals()]
    across = Normals().transform(normals, T.TransformList([T.HFlipTransform(WIDTH)]))
    np.testing.assert_array_equal(across, normals[:, ::-1] * np.float32([-1, 1, 1]))
    over = Normals().transform(normals, T.TransformList([VFlipTransform(HEIGHT)]))
    np.testing.assert_array_equal(over, normals[::-1] * np.float32([1, -1, 1]))


def test_a_crop_and_its_inverse_restore_every_pixel_inside(labels):
    crop = T.CropTransform(11, 7, 40, 30, orig_w=WIDTH, orig_h=HEIGHT)
    there_and_back = T.TransformList([crop, crop.inverse()])
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[7:37, 11:51] = True
    for task, label in labels.items():
        restored = task.transform(label, there_and_back)
        if task.name == "scene":
            assert restored == label
            continue
        np.testing.assert_allclose(restored[inside], label[inside], atol=1e-5)
        assert not restored[~inside].any()


@pytest.mark.parametrize("size", [(30, 40), (90, 120), (37, 51), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("kind", [T.ResizeTransform, ScaleTransform])
def test_a_resize_takes_whole_pixels_and_mixes_none(labels, size, kind):
    rows = ((np.arange(size[0]) + 0.5) * HEIGHT / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * WIDTH / size[1]).astype(int)
    resize = T.TransformList([kind(HEIGHT, WIDTH, *size)])
    for task in (Depth(), Normals()):
        expected = labels[task][rows[:, None], columns]
        np.testing.assert_array_equal(task.transform(labels[task], resize), expected)


def test_zoom_divides_depth_and_multiplies_the_normals_z():
    crop = T.TransformList([T.CropTransform(0, 0, 40, 30, orig_w=80, orig_h=60)])
    assert Depth().transform(np.full((60, 80), 3.0, np.float32), crop)[0, 0] == 1.5
    normals = np.zeros((60, 80, 3), np.float32) + np.float32([0.6, 0, -0.8])
    # (0.6, 0, 2 * -0.8) / sqrt(0.36 + 2.56) = (0.3511, 0, -0.9363)
    turned = Normals().transform(normals, crop)[0, 0]
    np.testing.assert_allclose(turned, [0.3511, 0, -0.9363], atol=1e-4)


def test_colours_and_resizes_change_no_value(labels):
    same = T.TransformList([T.NoOpTransform(), T.BlendTransform(np.zeros(3), 1.0, 1.0)])
    for task, label in labels.items():
        assert task.transform(label, same) is label


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (T.RotationTransform(HEIGHT, WIDTH, 10), "RotationTransform has no rule for"),
        (T.ExtentTransform((0, 0, 9, 9), (5, 5)), "ExtentTransform has no rule for"),
        (T.CropTransform(0, 0, 40, 30), "orig_w and orig_h"),
        (PadTransform(1, 1, 1, 1), "orig_w and orig_h"),
        (T.CropTransform(0, 0, 40, 60, orig_w=80, orig_h=60), "aspect ratio"),
        (PadTransform(0, 0, 0, 40, orig_w=80, orig_h=60), "aspect ratio"),
    ],
)
@pytest.mark.parametrize("task", [Depth(), Normals()])
def test_what_has_no_rule_is_refused(labels, transform, reason, task):
    with pytest.raises((NotImplementedError, ValueError), match=reason):
        task.transform(labels[task], T.TransformList([transform]))
