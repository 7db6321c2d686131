"""How labels follow the transforms of their image: laws of geometry."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, ScaleTransform, VFlipTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rock_d2.data.augmentation import RotationZoomTransform
from rock_d2.tasks import Depth, Edges, Normals, SemSeg, Task
from rock_d2.tasks.depth import encode_depth
from rock_d2.tasks.geometry import LabelMap
from rock_d2.tasks.normals import encode_normals
from rock_d2.tasks.thinning import outlines, thin

SEG = SemSeg(num_classes=2)
HEIGHT, WIDTH, FOCAL = 60, 80, 70.0
CENTRE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def plane(nx: float, ny: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth and normals, as stored, of the plane 10 m away whose normal is that of (nx, ny, -1)."""
    normal = np.array([nx, ny, -1.0]) / np.linalg.norm([nx, ny, -1.0])
    x, y = np.meshgrid(np.arange(WIDTH) - CENTRE[0], np.arange(HEIGHT) - CENTRE[1])
    rays = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], axis=-1)
    return encode_depth(-10 / (rays @ normal)), encode_normals(np.broadcast_to(normal, rays.shape))


def after(task: Task, stored: np.ndarray, transforms: list) -> np.ndarray:
    """The label (H, W, C) of a batch item whose image went through ``transforms``."""
    planes = stored.reshape(*stored.shape[:2], -1).transpose(2, 0, 1)
    label = LabelMap(planes, task.unknown_level, background=task.background_level)
    return (
        task.to_tensor(task.transform(label, T.TransformList(transforms)))
        .numpy()
        .transpose(1, 2, 0)
    )


def normals_of(depth: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Normals of the surface through the un-projected pixels, by differences; (H - 1, W - 1, 3)."""
    rows, columns = depth.shape
    x, y = np.meshgrid(np.arange(columns) - centre[0], np.arange(rows) - centre[1])
    points = np.stack([x * depth / focal, y * depth / focal, depth], axis=-1).astype(np.float64)
    right, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
    normals = np.cross(down, right)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def degrees_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.einsum("hwc,hwc->hw", first, second).clip(-1, 1)))


slopes = st.floats(-0.5, 0.5)


@given(slopes, slopes, st.floats(0.35, 1), st.floats(0, 1), st.floats(0, 1), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_zoomed_plane_is_the_plane_that_its_normals_say(nx, ny, side, left, top, mirrored):
    depth, normals = plane(nx, ny)
    w, h = round(WIDTH * side), round(HEIGHT * side)
    x0, y0 = round(left * (WIDTH - w)), round(top * (HEIGHT - h))
    centre = (CENTRE[0] - x0, CENTRE[1] - y0)
    transforms = [T.CropTransform(x0, y0, w, h)]
    if mirrored:
        transforms.append(T.HFlipTransform(w))
        centre = (w - 1 - centre[0], centre[1])
    moved, turned = after(Depth(), depth, transforms)[..., 0], after(Normals(), normals, transforms)
    # The crop, shown at the image's size, has pixels WIDTH / w times as far apart.
    found = normals_of(moved, focal=FOCAL * w / WIDTH, centre=centre)
    # Files hold millimetres and 127 levels: 0.8 degrees at most were seen.
    assert degrees_between(found, turned[:-1, :-1]).max() < 2
    assert (turned[..., 2] < 0).all()


@given(slopes, slopes, st.floats(-20, 20), st.floats(0.75, 1.25), st.sampled_from([None, "x", "y"]))
@settings(deadline=None, max_examples=60)
def test_a_turned_plane_is_the_plane_that_its_normals_say(nx, ny, degrees, scale, mirror):
    depth, normals = plane(nx, ny)
    flips = {"x": [T.HFlipTransform(WIDTH)], "y": [VFlipTransform(HEIGHT)]}
    transforms = [RotationZoomTransform(HEIGHT, WIDTH, degrees, scale), *flips.get(mirror, [])]
    moved, turned = after(Depth(), depth, transforms)[..., 0], after(Normals(), normals, transforms)
    known = moved > 0
    np.testing.assert_array_equal(known, turned.any(axis=2))
    # The inverse depth of a plane is linear in the image, and its coefficients are the normal.
    y, x = np.nonzero(known)
    rays = np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones_like(x)], axis=1)
    found = -np.linalg.lstsq(rays, 1 / moved[known], rcond=None)[0]
    cosine = turned[known] @ (found / np.linalg.norm(found))
    # The levels of files alone cost up to 0.4 degrees.
    assert np.degrees(np.arccos(cosine.min().clip(-1, 1))) < 1


@pytest.mark.parametrize(("degrees", "scale"), [(20, 1), (0, 1.2), (-13, 0.75)])
def test_image_labels_and_objects_turn_alike(degrees, scale):
    turn = RotationZoomTransform(HEIGHT, WIDTH, degrees, scale)
    for x, y in ((40, 30), (25, 22), (50, 40)):
        classes = np.zeros((HEIGHT, WIDTH), np.uint8)
        classes[y - 4 : y + 5, x - 4 : x + 5] = 1
        image = turn.apply_image(np.repeat(100 * classes[..., None], 3, axis=2))[..., 0]
        label = after(SemSeg(num_classes=2), classes, [turn])[..., 0]
        # Detectron2 counts from the corner of the first pixel.
        expected = turn.apply_coords(np.array([[x + 0.5, y + 0.5]]))[0] - 0.5
        for pixels in (image > 50, label == 1, turn.apply_segmentation(classes) == 1):
            centre = np.argwhere(pixels).mean(axis=0)[::-1]
            np.testing.assert_allclose(centre, expected, atol=0.2)
            assert pixels.sum() == pytest.approx(81 * scale**2, rel=0.15)
    # A quarter turn counter-clockwise takes what is right to the top.
    quarter = T.RotationTransform(60, 60, 90, expand=False)
    square = np.zeros((60, 60), np.uint8)
    square[30, 50] = 1
    rows, columns = np.nonzero(after(SemSeg(num_classes=2), square, [quarter])[..., 0])
    assert (*rows, *columns) == (9, 30)


def test_corners_are_unknown_or_background_as_in_the_published_code():
    classes = np.ones((HEIGHT, WIDTH), np.uint8)
    depth, normals = plane(0, 0)
    corner = (0, 0)
    for published, level in ((False, 255), (True, 0)):
        turn = RotationZoomTransform(HEIGHT, WIDTH, 20, 1, background_corners=published)
        assert after(SEG, classes, [turn])[corner] == level
        assert after(Edges(), classes, [turn])[corner] == level
        assert after(Depth(), depth, [turn])[corner] == 0
        assert not after(Normals(), normals, [turn])[corner].any()


def test_a_zoom_leaves_normals_where_the_published_code_does():
    _, normals = plane(0.5, 0)
    zoom = RotationZoomTransform(HEIGHT, WIDTH, 0, 1.25)
    before = after(Normals(), normals, [])[HEIGHT // 2, WIDTH // 2]
    np.testing.assert_array_equal(
        after(Normals(zoom_z=False), normals, [zoom])[HEIGHT // 2, WIDTH // 2], before
    )
    # z grows by 1.25: (0.5, 0, -1.25) of the same plane.
    grown = np.array([0.5, 0, -1.25]) / np.hypot(0.5, 1.25)
    np.testing.assert_allclose(
        after(Normals(), normals, [zoom])[HEIGHT // 2, WIDTH // 2], grown, atol=0.01
    )


@pytest.fixture
def stored() -> dict[Task, np.ndarray]:
    """A random label of each task as files hold it, a third of the pixels unknown."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(HEIGHT, WIDTH, 3))
    normals = encode_normals(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
    depth = rng.integers(1000, 9000, (HEIGHT, WIDTH)).astype(np.uint16)
    unknown = rng.uniform(size=(HEIGHT, WIDTH)) < 0.3
    depth[unknown] = 0
    normals[unknown] = 127
    return {Depth(): depth, Normals(): normals}


@pytest.mark.parametrize(
    ("flip", "axis", "signs"),
    [(T.HFlipTransform(WIDTH), 1, [-1, 1, 1]), (VFlipTransform(HEIGHT), 0, [1, -1, 1])],
)
def test_flips_mirror_pixels_and_negate_the_component_that_they_mirror(stored, flip, axis, signs):
    for task, label in stored.items():
        same, flipped = after(task, label, []), after(task, label, [flip])
        factors = signs if task == Normals() else 1
        np.testing.assert_array_equal(flipped, np.flip(same, axis) * np.float32(factors))
        np.testing.assert_array_equal(after(task, label, [flip, flip]), same)


@pytest.mark.parametrize("size", [(30, 40), (90, 120), (37, 51)])
@pytest.mark.parametrize("kind", [T.ResizeTransform, ScaleTransform])
def test_a_resize_takes_whole_pixels_and_mixes_none(stored, size, kind):
    rows = ((np.arange(size[0]) + 0.5) * HEIGHT / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * WIDTH / size[1]).astype(int)
    for task, label in stored.items():
        expected = after(task, label, [])[rows[:, None], columns]
        np.testing.assert_array_equal(after(task, label, [kind(HEIGHT, WIDTH, *size)]), expected)


@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_resize_loses_no_edge_and_invents_none(height, width, seed):
    rng = np.random.default_rng(seed)
    edges = rng.choice([0, 1, 255], p=[0.7, 0.1, 0.2], size=(12, 16)).astype(np.uint8)
    resized = after(Edges(), edges, [T.ResizeTransform(12, 16, height, width)])[..., 0]
    # Where an edge's centre comes to lie there is one; so of one that is a pixel wide all is kept.
    rows, columns = np.nonzero(edges == 1)
    to_row, to_column = (2 * rows + 1) * height // 24, (2 * columns + 1) * width // 32
    if height <= 12 and width <= 16:
        expected = np.zeros((height, width), bool)
        expected[to_row, to_column] = True
        np.testing.assert_array_equal(resized == 1, expected)
    if height >= 12 and width >= 16:
        rows = (2 * np.arange(height) + 1) * 12 // (2 * height)
        columns = (2 * np.arange(width) + 1) * 16 // (2 * width)
        nearest = edges[rows[:, None], columns]
        if (height, width) != (12, 16):
            nearest[(nearest == 1) & ~thin(nearest == 1)] = 0
        np.testing.assert_array_equal(resized, nearest)


@pytest.mark.parametrize("scale", [0.75, 1, 1.2, 1.5])
@pytest.mark.parametrize("degrees", [0.0, 7, -20])
def test_turned_edges_stay_thin_and_whole(degrees, scale):
    regions = np.zeros((HEIGHT, WIDTH), int)
    regions[20:40, 25:55] = 1
    regions[np.hypot(*(np.indices(regions.shape) - np.array([30, 40])[:, None, None])) < 5] = 2
    edges = np.uint8(outlines(regions))
    turn = RotationZoomTransform(HEIGHT, WIDTH, degrees, scale)
    turned = after(Edges(), edges, [turn])[..., 0]
    np.testing.assert_array_equal(turned == 255, after(SEG, edges, [turn])[..., 0] == 255)
    lines = turned == 1
    assert ndimage.label(lines, np.ones((3, 3)))[1] == 2 and (thin(lines) == lines).all()
    # The rectangle and the circle inside of it still close.
    assert ndimage.label(~lines)[1] == 3
    assert lines.sum() == pytest.approx(scale * edges.sum(), rel=0.25)


def test_zoom_divides_depth_and_multiplies_the_normals_z():
    crop = [T.CropTransform(0, 0, 40, 30)]
    assert after(Depth(), np.full((60, 80), 3000, np.uint16), crop)[0, 0] == 1.5
    normals = encode_normals(np.broadcast_to([0.6, 0, -0.8], (60, 80, 3)))
    # 127 * 0.6 = 76.2 and 127 * 0.8 = 101.6 are stored as 76 and 102:
    # (76, 0, 2 * -102) / sqrt(76^2 + 204^2) = (0.34911, 0, -0.93708)
    turned = after(Normals(), normals, crop)[0, 0]
    np.testing.assert_allclose(turned, [0.34911, 0, -0.93708], atol=1e-5)
    # Back to the size before, everything is as far as it was; the border is unknown.
    crop.append(PadTransform(10, 5, 30, 25))
    padded = after(Depth(), np.full((60, 80), 3000, np.uint16), crop)[..., 0]
    assert (padded[5:35, 10:50] == 3).all() and padded.sum() == 3 * 30 * 40
    turned = after(Normals(), normals, crop)
    np.testing.assert_allclose(turned[20, 20], np.array([76, 0, -102]) / 127.2, atol=1e-3)
    assert not turned[0].any()


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (T.RotationTransform(HEIGHT, WIDTH, 10), "73 x 89 of 60 x 80 .*aspect ratio"),
        (T.ExtentTransform((0, 0, 9, 9), (5, 5)), "ExtentTransform has no rule for `"),
        (T.CropTransform(0, 0, 40, 60), "60 x 40 of 60 x 80 .*aspect ratio"),
        (PadTransform(0, 0, 0, 40), "100 x 80 of 60 x 80 .*aspect ratio"),
    ],
)
def test_other_transforms_are_refused(stored, transform, reason):
    for task, label in stored.items():
        with pytest.raises((NotImplementedError, ValueError), match=reason):
            after(task, label, [transform])
