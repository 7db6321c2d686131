from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from roomgen.nyuv2_mat import write_nyuv2_mat
from roomgen.nyuv2_normals import EigenNormals, LadickyNormals, NpyNormals
from synthetic_scene import synthetic_frame

ROOMS = ("kitchen_0004", "kitchen_0005", "kitchen_0006")
UP_RIGHT_BACK = ((0, -1, 0), (1, 0, 0), (0, 0, -1))


@pytest.fixture(scope="module")
def frames():
    return [synthetic_frame(room, shift=5 * index) for index, room in enumerate(ROOMS)]


@pytest.fixture(scope="module")
def root(tmp_path_factory, frames) -> Path:
    root = tmp_path_factory.mktemp("nyuv2")
    layouts = (EigenNormals(), LadickyNormals(), NpyNormals(axes=UP_RIGHT_BACK))
    write_nyuv2_mat(frames, num_frames=len(ROOMS), root=root, seed=0, normals=layouts)
    return root


@pytest.fixture(scope="module")
def valid(root) -> list[np.ndarray]:
    """bool (H, W) of each frame: where the sensor measured."""
    with h5py.File(root / "nyu_depth_v2_labeled.mat") as file:
        return [raw_depth.T > 0 for raw_depth in file["rawDepths"]]


def read_rgb(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]


def decode(pixels: np.ndarray, axes) -> np.ndarray:
    return (pixels / 127 - 1) @ np.array(axes)  # the inverse of axes is its transpose


def test_eigen_normals(root, valid, frames):
    folder = root / "normals_gt"
    assert sorted(path.name for path in (folder / "normals").iterdir()) == [
        f"{i:04d}.png" for i in range(len(ROOMS))
    ]
    for i, frame in enumerate(frames):
        mask = cv2.imread(str(folder / "masks" / f"{i:04d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask > 0, valid[i])
        pixels = read_rgb(folder / "normals" / f"{i:04d}.png")
        assert (pixels[mask == 0] == 127).all()
        normals = decode(pixels, EigenNormals().axes)
        assert np.abs(normals - frame.normals)[mask > 0].max() <= 0.5 / 127 + 1e-6


def test_eigen_layout_is_right_forward_up(root):
    pixels = read_rgb(root / "normals_gt" / "normals" / "0000.png")
    # As a public loader implies: a wall facing the camera ~ (128, 0, 128), floor ~ (128, 128, 255).
    assert pixels[60, 320].tolist() == [127, 0, 127]
    assert pixels[460, 320].tolist() == [127, 127, 254]


def test_ladicky_normals_are_dense_and_divided_by_split(root, frames):
    splits = scipy.io.loadmat(root / "splits.mat")
    for split in ("train", "test"):
        indices = splits[f"{split}Ndxs"][:, 0]
        paths = sorted((root / "nyu_normals_gt" / split).iterdir())
        assert [path.name for path in paths] == [f"{i:05d}.png" for i in indices]
        for index, path in zip(indices, paths, strict=True):
            normals = read_rgb(path)[..., ::-1] / 127 - 1  # stored as (n_z, n_y, n_x)
            assert np.abs(normals - frames[index - 1].normals).max() <= 0.5 / 127 + 1e-6


def test_npy_normals_in_another_axis_order(root, valid, frames):
    for i, frame in enumerate(frames):
        stored = np.load(root / "normals_npy" / f"{i:04d}.npy")
        assert stored.dtype == np.float16
        assert not stored[~valid[i]].any()
        right, down, forward = np.moveaxis(frame.normals, -1, 0)
        expected = np.stack([-down, right, -forward], axis=-1)
        np.testing.assert_allclose(stored[valid[i]], expected[valid[i]], atol=5e-4)


@pytest.mark.parametrize("axes", [((1, 0, 0),) * 3, ((2, 0, 0), (0, 1, 0), (0, 0, 1)), ((1, 0),)])
def test_axes_must_be_a_signed_permutation(axes):
    with pytest.raises(ValueError, match="a single 1 or -1"):
        EigenNormals(axes=axes)
