"""The three layouts in which normals for NYUv2 are handed around, written frame by frame.

Every layout stores ``axes @ n`` for our normal n (x right, y down, z forward, facing the camera),
where ``axes`` is a signed permutation, so that a converter can be tried on any axis order:

    EigenNormals    normals/%04d.png and masks/%04d.png, from 0; 0 in the mask = invalid
    LadickyNormals  train/%05d.png and test/%05d.png, from 1; a normal in every pixel
    NpyNormals      %04d.npy, from 0; float16 (H, W, 3), (0, 0, 0) = invalid

The PNGs hold round(127 (n + 1)) in R, G, B.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

Axes = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

RIGHT_DOWN_FORWARD: Axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RIGHT_FORWARD_UP: Axes = ((1, 0, 0), (0, 0, 1), (0, -1, 0))
FORWARD_DOWN_RIGHT: Axes = ((0, 0, 1), (0, 1, 0), (1, 0, 0))


@dataclass(frozen=True)
class NormalsTree(ABC):
    """A folder of normals.

    Attributes:
        folder: its name beside the .mat file.
        axes: signed permutation; row c gives stored channel c in terms of our x, y, z.
    """

    folder: str
    axes: Axes

    def __post_init__(self) -> None:
        matrix = np.asarray(self.axes)
        is_signed_permutation = (
            matrix.shape == (3, 3)
            and set(matrix.ravel().tolist()) <= {-1, 0, 1}
            and np.array_equal(matrix @ matrix.T, np.eye(3))
        )
        if not is_signed_permutation:
            raise ValueError(
                f"{self.folder}: axes {self.axes} must be 3 x 3 with a single 1 or -1 in each row "
                "and column"
            )

    @abstractmethod
    def write(self, root: Path, index: int, normals: np.ndarray, valid: np.ndarray) -> None:
        """Writes frame ``index`` (from 0).

        Args:
            root: the folder that holds ``self.folder``.
            normals: float32 (H, W, 3), our axes.
            valid: bool (H, W).
        """

    def divide(self, root: Path, is_test: np.ndarray) -> None:
        """Sorts the written files by split, bool (N,), in layouts that keep the splits apart."""

    def _stored(self, normals: np.ndarray) -> np.ndarray:
        return normals @ np.asarray(self.axes, dtype=normals.dtype).T


@dataclass(frozen=True)
class EigenNormals(NormalsTree):
    """normals_gt.tgz of Eigen and Fergus, ICCV 2015; its axes are inferred, not documented."""

    folder: str = "normals_gt"
    axes: Axes = RIGHT_FORWARD_UP

    def write(self, root: Path, index: int, normals: np.ndarray, valid: np.ndarray) -> None:
        pixels = _encode(self._stored(normals))
        pixels[~valid] = 127
        _write_png(root / self.folder / "normals" / f"{index:04d}.png", pixels[..., ::-1])
        _write_png(root / self.folder / "masks" / f"{index:04d}.png", np.uint8(255) * valid)


@dataclass(frozen=True)
class LadickyNormals(NormalsTree):
    """nyu_normals_gt.zip of Ladicky et al., ECCV 2014."""

    folder: str = "nyu_normals_gt"
    axes: Axes = FORWARD_DOWN_RIGHT

    def write(self, root: Path, index: int, normals: np.ndarray, valid: np.ndarray) -> None:
        pixels = _encode(self._stored(normals))
        _write_png(root / self.folder / self._name(index), pixels[..., ::-1])

    def divide(self, root: Path, is_test: np.ndarray) -> None:
        folder = root / self.folder
        for split in ("train", "test"):
            (folder / split).mkdir()
        for index, test in enumerate(is_test):
            name = self._name(index)
            (folder / name).rename(folder / ("test" if test else "train") / name)

    def _name(self, index: int) -> str:
        return f"{index + 1:05d}.png"


@dataclass(frozen=True)
class NpyNormals(NormalsTree):
    """Arrays as multi-task code bases keep them."""

    folder: str = "normals_npy"
    axes: Axes = RIGHT_DOWN_FORWARD

    def write(self, root: Path, index: int, normals: np.ndarray, valid: np.ndarray) -> None:
        path = root / self.folder / f"{index:04d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.float16(self._stored(normals) * valid[..., None]))


def _encode(normals: np.ndarray) -> np.ndarray:
    return np.rint(127 * (normals + 1)).astype(np.uint8)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels in OpenCV's channel order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path}: cannot be written; is the disk full or the folder read-only?")
