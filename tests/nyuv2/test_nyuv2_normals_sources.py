import cv2
import numpy as np
import pytest
from nyuv2prep.axes import ALL_AXES, face_camera, find_axes, in_our_axes
from nyuv2prep.normals_source import open_normals

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE
from rock_d2.tasks.normals import encode_normals


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def flat(value, shape=(*IMAGE_SIZE, 3)):
    return np.full(shape, value, dtype=np.uint8)


def directions(count=3000, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("axes", ALL_AXES[::7])
def test_axes_are_found(axes):
    ours = directions()
    stored = ours @ np.array(axes, dtype=np.float32)  # the transpose is the inverse
    candidates = find_axes(stored, ours, "source")
    assert len(candidates) == 48 and candidates[0].axes == axes
    assert candidates[0].median < 0.1 < 5 < candidates[1].mean
    np.testing.assert_allclose(in_our_axes(stored, axes), ours, atol=1e-6)


def test_axes_that_do_not_follow_are_refused():
    with pytest.raises(ValueError, match=r"source: .* the best median is over 15 degrees"):
        find_axes(directions(seed=1), directions(), "source")
    # Nothing but walls seen from the front: x and y could be anything.
    wall = np.tile(np.float32([0, 0, -1]), (100, 1))
    with pytest.raises(ValueError, match="the best two are less than 5 degrees apart"):
        find_axes(wall, wall, "source")


def test_only_vectors_that_clearly_face_away_are_turned():
    normals = np.zeros((*IMAGE_SIZE, 3), dtype=np.float32)
    normals[:, :, 2] = -1
    normals[100, 100] = (0, 0, 1)
    normals[253, 325] = (0.995, 0, 0.1)  # on the optical axis, 6 degrees beyond edge on
    turned, count = face_camera(normals)
    assert count == 1
    np.testing.assert_array_equal(turned[100, 100], [0, 0, -1])
    np.testing.assert_array_equal(turned[253, 325], normals[253, 325])


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_from_0_or_1_masks_and_both_encodings(tmp_path, first):
    mask = flat(255, IMAGE_SIZE)
    mask[5, 6] = 0
    for number in (first, first + 1):
        write(tmp_path / f"normals/{number:04d}.png", flat(0) + np.uint8([0, 127, 127]))
        write(tmp_path / f"masks/{number:04d}.png", mask)
    source = open_normals(tmp_path, num_frames=2).with_levels([0, 1])
    assert (source.kind, source.levels) == ("eigen", 254)
    vectors, known = source.read(1)
    assert np.argwhere(~known).tolist() == [[5, 6]]
    # OpenCV writes blue first, so the third channel is the one at 0.
    np.testing.assert_array_equal(vectors[7, 7], [0, 0, -1])

    write(tmp_path / f"normals/{first:04d}.png", flat(255) - np.uint8([0, 127, 127]))
    source = source.with_levels([0, 1])
    assert source.levels == 255
    np.testing.assert_allclose(source.read(0)[0][7, 7], [0, 0, 1], atol=0.005)


def test_levels_of_8_bits_are_permuted_and_not_rounded_again(tmp_path):
    levels = np.rint(127 * (directions(IMAGE_SIZE[0] * IMAGE_SIZE[1]) + 1)).astype(np.uint8)
    levels = levels.reshape(*IMAGE_SIZE, 3)
    # Of length 0.95, the third component 120.65 of 127.
    levels[0, 0] = (127, 127, 127 + 121)
    write(tmp_path / "normals/0000.png", levels[..., ::-1])
    write(tmp_path / "masks/0000.png", flat(255, IMAGE_SIZE))
    vectors, known = open_normals(tmp_path, num_frames=1).with_levels([0]).read(0)
    ours = encode_normals(in_our_axes(vectors, ((0, 0, 1), (-1, 0, 0), (0, -1, 0))))
    assert known.all() and ours[0, 0].tolist() == [254, 127, 127]
    red, green, blue = np.moveaxis(levels[1:], 2, 0)
    np.testing.assert_array_equal(ours[1:], np.stack([blue, 254 - red, 254 - green], axis=2))


def test_all_but_unit_vectors_are_unknown(tmp_path):
    array = np.zeros((*IMAGE_SIZE, 3), dtype=np.float32)
    array[..., 0] = 1.01
    for column, value in enumerate([0.0, np.nan, 1.5]):
        array[0, column] = value
    np.save(tmp_path / "0000.npy", array)
    vectors, known = open_normals(tmp_path, num_frames=1).read(0)
    assert np.argwhere(~known).tolist() == [[0, 0], [0, 1], [0, 2]]
    np.testing.assert_array_equal(vectors[0, :3], 0)
    np.testing.assert_allclose(vectors[1, 1], [1, 0, 0])
