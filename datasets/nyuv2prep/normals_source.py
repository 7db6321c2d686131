"""Normals for NYUv2 as they are distributed: which file belongs to which frame, and its vectors.

    eigen     FOLDER/normals/*.png and FOLDER/masks/*.png, 0 in a mask = unknown
              (normals_gt.tgz of Eigen and Fergus, ICCV 2015)
    ladicky   FOLDER/train/*.png and FOLDER/test/*.png, a vector in every pixel
              (nyu_normals_gt.zip of Ladicky et al., ECCV 2014)
    npy       FOLDER/*.npy, float (H, W, 3), (0, 0, 0) = unknown

File names are numbers, from 0 or from 1. What the three channels mean is for axes.py to find out.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE
from rock_d2.tasks.normals import LENGTH_ERROR

# What a vector decodes to may be off unit length by rounding; Ladicky's are 1 % too long.
UNIT_LENGTHS = (0.9, 1.1)


@dataclass(frozen=True)
class NormalsSource:
    """A folder of normals.

    Attributes:
        folder: the folder.
        kind: "eigen", "ladicky" or "npy".
        files: of each frame.
        masks: of each frame; empty where the layout has none.
        levels: 8-bit value v stands for 2 v / levels - 1.
    """

    folder: Path
    kind: str
    files: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    levels: int = 254

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return unit vectors (H, W, 3), channels as stored, and bool (H, W) where known.

        Those of 8-bit files have length 1 to half a step of these.
        """
        stored = _read(self.files[index])
        if self.kind == "npy":
            vectors = stored.astype(np.float32)
        else:
            vectors = stored.astype(np.float32) * np.float32(2 / self.levels) - 1
        lengths = np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors))
        # Covers everything that is in use for unknown: 0, 127, NaN.
        known = (lengths > UNIT_LENGTHS[0]) & (lengths < UNIT_LENGTHS[1]) & self._mask(index)
        # Levels of our own encoding stay what they are: nothing is rounded twice.
        tolerance = LENGTH_ERROR if self.kind != "npy" and self.levels == 254 else 0
        is_rescaled = known & (np.abs(lengths - 1) > tolerance)
        vectors /= np.where(is_rescaled, lengths, 1)[..., None]
        return np.where(known[..., None], vectors, 0), known

    def _mask(self, index: int) -> np.ndarray:
        if not self.masks:
            return np.ones(IMAGE_SIZE, dtype=bool)
        return (_read(self.masks[index]) > 0).any(axis=2)

    def with_levels(self, indices: Iterable[int]) -> "NormalsSource":
        """Return the source with the encoding of its files: 127 (n + 1) never writes 255."""
        if self.kind == "npy":
            return self
        is_full_range = False
        for index in indices:
            is_full_range |= bool((_read(self.files[index])[self._mask(index)] == 255).any())
        return replace(self, levels=255 if is_full_range else 254)

    def fingerprint(self) -> str:
        """Return a text that changes when a file does."""
        digest = hashlib.sha1()
        for path in (*self.files, *self.masks):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def open_normals(folder: Path, num_frames: int) -> NormalsSource:
    """Find a file for every frame in a folder of one of the layouts above."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; --normals names it")
    if (folder / "normals").is_dir():
        files, masks = (_by_frame([folder / x], "*.png", num_frames) for x in ("normals", "masks"))
        return NormalsSource(folder, "eigen", files, masks)
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        files = _by_frame([folder / "train", folder / "test"], "*.png", num_frames)
        return NormalsSource(folder, "ladicky", files)
    if any(folder.glob("*.npy")):
        return NormalsSource(folder, "npy", _by_frame([folder], "*.npy", num_frames))
    raise ValueError(
        f"{folder}: neither normals/ with masks/, nor train/ with test/, nor *.npy is in there: "
        "--normals must name the folder that holds them"
    )


def _by_frame(folders: Sequence[Path], pattern: str, num_frames: int) -> tuple[Path, ...]:
    """Return the files in the order of their numbers, which must be 0 to N - 1 or 1 to N."""
    paths = [path for folder in folders for path in folder.glob(pattern)]
    numbered = {int(path.stem): path for path in paths if path.stem.isdigit()}
    for first in (0, 1):
        wanted = range(first, first + num_frames)
        if len(paths) == num_frames and sorted(numbered) == list(wanted):
            return tuple(numbered[number] for number in wanted)
    raise ValueError(
        f"{' and '.join(map(str, folders))}: {len(paths)} files {pattern} where {num_frames} are "
        "expected, numbered from 0 or from 1: unpack the archive again"
    )


def _read(path: Path) -> np.ndarray:
    """Return an array (H, W, C), RGB if it is a picture."""
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}): unpack the archive again") from error
    if values.shape != (*IMAGE_SIZE, 3) or (path.suffix == ".npy") != (values.dtype.kind == "f"):
        raise ValueError(
            f"{path}: is {values.dtype} {values.shape} where {(*IMAGE_SIZE, 3)} is expected, "
            "floats in .npy: --normals must be of NYUv2's full frames"
        )
    return values
