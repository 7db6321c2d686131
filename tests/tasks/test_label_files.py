"""A label file holds what was written to it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rock_d2.tasks import Depth, Normals
from rock_d2.tasks.depth import encode_depth
from rock_d2.tasks.geometry import LabelMap
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.normals import encode_normals, normalise

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)


def read_back(task: MapTask, pixels: np.ndarray) -> np.ndarray:
    planes = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    return task.as_values(task.to_tensor(LabelMap(planes, task.unknown_level)).numpy())


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 65.5, width=32)))
@settings(deadline=None, max_examples=50)
def test_depth_keeps_half_a_millimetre(depth):
    found = read_back(Depth(), encode_depth(depth))
    assert np.abs(found - depth).max() <= 0.5e-3 + 1e-5
    assert (found[depth == 0] == 0).all()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_normals_keep_half_a_degree_and_unknown_ones_zero(seed):
    normals = normalise(np.random.default_rng(seed).normal(size=(8, 8, 3)).astype(np.float32))
    normals[0] = 0
    decoded = read_back(Normals(), encode_normals(normals))
    assert (decoded[0] == 0).all()
    # Half a step of 1/127 in each component is at most sqrt(3)/254 rad = 0.39 degrees.
    cosines = np.einsum("hwc,hwc->hw", normals.astype(np.float64), decoded)[1:]
    assert np.degrees(np.arccos(cosines.clip(-1, 1))).max() <= 0.40
    np.testing.assert_allclose(np.linalg.norm(decoded[1:], axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("depth", [-0.1, np.nan, 65.6])
def test_values_that_files_cannot_hold_are_refused(depth):
    with pytest.raises(ValueError, match="depth: negative, NaN or beyond"):
        encode_depth(np.full((2, 2), depth, np.float32))
    with pytest.raises(ValueError, match="normals: NaN or longer than 1"):
        encode_normals(np.full((1, 1, 3), 1.2, np.float32))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((2, 2), np.uint8), r"uint8.*expected 1 of uint16"),
        (np.zeros((2, 2, 3), np.uint16), r"3 channel\(s\).*expected 1 of uint16"),
        (np.zeros((2, 3), np.uint16), r"is 2 x 3, its image 2 x 2"),
        (None, r"`depth_file_name`, is missing"),
    ],
    ids=["type", "channels", "size", "missing"],
)
def test_files_that_are_no_labels_are_named(pixels, message, tmp_path):
    path = str(tmp_path / "depth.png")
    if pixels is not None:
        cv2.imwrite(path, pixels)
    record = {"depth_file_name": path, "height": 2, "width": 2}
    with pytest.raises(ValueError, match=rf"depth\.png.*{message}"):
        Depth().read(record)
    problems, _ = Depth().check(record, None)
    assert len(problems) == 1 and problems[0].startswith(path)


def test_a_normals_file_by_hand(tmp_path):
    path = str(tmp_path / "normals.png")
    # OpenCV writes BGR: the first channel of the file, red, is x. (1, 0, 0), unknown, and a vector
    # of length 0.5.
    cv2.imwrite(path, np.array([[[127, 127, 254], [127, 127, 127], [63, 127, 127]]], np.uint8))
    record = {"normals_file_name": path, "height": 1, "width": 3}
    assert Normals().read(record).tolist() == [[[1, 0, 0], [0, 0, 0], [0, 0, -1]]]
    problems, known = Normals().check(record, None)
    assert problems == [f"{path}: 1 of 2 known pixels are no unit vectors"]
    assert known == pytest.approx(2 / 3)
