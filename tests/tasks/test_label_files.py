"""What is written to a label file is what is read back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rock_d2.tasks import Depth, Normals, Scene
from rock_d2.tasks.depth import encode_depth
from rock_d2.tasks.geometry import StoredMap
from rock_d2.tasks.maps import MapTask, as_read
from rock_d2.tasks.normals import encode_normals, normalise

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)


def read_back(task: MapTask, pixels: np.ndarray) -> np.ndarray:
    return as_read(task.to_tensor(StoredMap.whole(pixels)))


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 65.5, width=32)))
@settings(deadline=None, max_examples=50)
def test_depth_keeps_half_a_millimetre(depth):
    assert np.abs(read_back(Depth(), encode_depth(depth)) - depth).max() <= 0.5e-3 + 1e-5


def test_unknown_depth_stays_zero():
    assert read_back(Depth(), encode_depth(np.zeros((2, 3), np.float32))).max() == 0


@pytest.mark.parametrize("bad", [-0.1, np.nan, 65.6])
def test_depth_that_files_cannot_hold_is_refused(bad):
    with pytest.raises(ValueError, match="depth"):
        encode_depth(np.full((2, 2), bad, np.float32))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_normals_keep_half_a_degree(seed):
    vectors = np.random.default_rng(seed).normal(size=(8, 8, 3)).astype(np.float32)
    normals = normalise(vectors)
    decoded = read_back(Normals(), encode_normals(normals))
    # Half a step of 1/127 in each component is at most sqrt(3)/254 rad = 0.39 degrees.
    cosines = np.einsum("hwc,hwc->hw", normals.astype(np.float64), decoded)
    assert np.degrees(np.arccos(cosines.clip(-1, 1))).max() <= 0.40
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=-1), 1, atol=1e-6)


def test_unknown_normals_stay_zero():
    stored = encode_normals(np.zeros((2, 3, 3), np.float32))
    assert (stored == 127).all()
    assert (read_back(Normals(), stored) == 0).all()


def test_normals_longer_than_one_are_refused():
    with pytest.raises(ValueError, match="normals"):
        encode_normals(np.full((1, 1, 3), 1.2, np.float32))


def test_channel_order_of_a_normals_file(tmp_path):
    path = str(tmp_path / "normals.png")
    # OpenCV writes BGR: the first channel of the file, red, is x.
    cv2.imwrite(path, np.full((1, 1, 3), (127, 127, 254), np.uint8))
    assert Normals().read({"normals_file_name": path}).tolist() == [[[1, 0, 0]]]


def test_a_label_that_an_image_lacks_is_none():
    assert [task().read({}) for task in (Depth, Normals, Scene)] == [None, None, None]


def test_a_missing_file_is_named_with_its_field(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.png.*depth_file_name"):
        Depth().read({"depth_file_name": str(tmp_path / "nothing.png")})


def test_eight_bit_depth_is_refused(tmp_path):
    path = str(tmp_path / "depth.png")
    cv2.imwrite(path, np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"depth\.png.*depth_file_name.*uint8.*uint16"):
        Depth().read({"depth_file_name": path})
