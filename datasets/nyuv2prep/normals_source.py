"""Normals for NYUv2 as others hand them out: which file belongs to which frame, and its vectors.

    eigen     FOLDER/normals/*.png and FOLDER/masks/*.png, 0 in a mask = unknown
              (normals_gt.tgz of Eigen and Fergus, ICCV 2015)
    ladicky   FOLDER/train/*.png and FOLDER/test/*.png, a vector in every pixel
              (nyu_normals_gt.zip of Ladicky et al., ECCV 2014)
    npy       FOLDER/*.npy, float (H, W, 3), (0, 0, 0) = unknown

File names are numbers, from 0 or from 1. What the three channels mean is for axes.py to find out.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE

FORMATS = ("auto", "eigen", "ladicky", "npy")

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
        """Unit vectors float32 (H, W, 3), channels as stored, and bool (H, W) where known."""
        path = self.files[index]
        stored = _read(path)
        if stored.shape != (*IMAGE_SIZE, 3):
            raise ValueError(
                f"{path}: normals of frame {index + 1} are {stored.shape} where "
                f"{(*IMAGE_SIZE, 3)} is expected: --normals must be of NYUv2's full frames"
            )
        if path.suffix == ".npy":
            vectors = stored.astype(np.float32)
        else:
            vectors = stored.astype(np.float32) * np.float32(2 / self.levels) - 1
        lengths = np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors))
        # Covers what different hands write for unknown: 0, 127, NaN.
        known = (lengths > UNIT_LENGTHS[0]) & (lengths < UNIT_LENGTHS[1])
        if self.masks:
            known &= self._mask(index)
        vectors /= np.where(known, lengths, 1)[..., None]
        return np.where(known[..., None], vectors, 0), known

    def _mask(self, index: int) -> np.ndarray:
        mask = _read(self.masks[index])
        if mask.shape[:2] != IMAGE_SIZE:
            raise ValueError(
                f"{self.masks[index]}: the mask of frame {index + 1} is {mask.shape[:2]} where "
                f"{IMAGE_SIZE} is expected: --normals must be of NYUv2's full frames"
            )
        return mask > 0 if mask.ndim == 2 else (mask > 0).any(axis=2)

    def with_levels(self, indices: Iterable[int]) -> "NormalsSource":
        """Finds out which of two encodings the files have: 127 (n + 1) never writes 255."""
        if self.kind == "npy":
            return self
        is_full_range = False
        for index in indices:
            stored = _read(self.files[index])
            known = self._mask(index) if self.masks else np.ones(stored.shape[:2], dtype=bool)
            is_full_range |= bool((stored[known] == 255).any())
        return replace(self, levels=255 if is_full_range else 254)

    def fingerprint(self) -> str:
        """Changes when a file does."""
        digest = hashlib.sha1()
        for path in (*self.files, *self.masks):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def open_normals(folder: Path, kind: str, num_frames: int) -> NormalsSource:
    """Finds a file for every frame.

    Args:
        folder: of one of the layouts above.
        kind: one of ``FORMATS``.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; --normals names it")
    kind = _detect(folder) if kind == "auto" else kind
    parts = {"eigen": ("normals",), "ladicky": ("train", "test"), "npy": (".",)}[kind]
    pattern = "*.npy" if kind == "npy" else "*.png"
    files = _by_frame(folder, parts, pattern, num_frames)
    masks = _by_frame(folder, ("masks",), pattern, num_frames) if kind == "eigen" else ()
    return NormalsSource(folder=folder, kind=kind, files=files, masks=masks)


def _detect(folder: Path) -> str:
    if (folder / "normals").is_dir():
        return "eigen"
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return "ladicky"
    if any(folder.glob("*.npy")):
        return "npy"
    raise ValueError(
        f"{folder}: neither normals/ with masks/, nor train/ with test/, nor *.npy is in there: "
        "--normals must name the folder that holds them"
    )


def _by_frame(
    folder: Path, parts: tuple[str, ...], pattern: str, num_frames: int
) -> tuple[Path, ...]:
    """Files in the order of their numbers, which must be 0 to N - 1 or 1 to N."""
    numbered: dict[int, Path] = {}
    for path in sorted(path for part in parts for path in (folder / part).glob(pattern)):
        if not path.stem.isdigit():
            raise ValueError(f"{path}: is not named by a frame's number: move it away")
        if int(path.stem) in numbered:
            raise ValueError(f"{path}: {numbered[int(path.stem)]} has the same number: remove one")
        numbered[int(path.stem)] = path
    where = " and ".join(str(folder / part) for part in parts)
    _check_numbers(where, pattern, numbered, num_frames)
    return tuple(numbered[number] for number in sorted(numbered))


def _check_numbers(where: str, pattern: str, numbered: Mapping[int, Path], num_frames: int) -> None:
    first = 0 if 0 in numbered else 1
    wanted = range(first, first + num_frames)
    if len(numbered) != num_frames:
        absent = [number for number in wanted if number not in numbered]
        detail = f", {absent[0]} is the first absent" if absent else ""
        raise ValueError(
            f"{where}: {len(numbered)} files {pattern} for {num_frames} frames{detail}: "
            "unpack the archive again"
        )
    if set(numbered) != set(wanted):
        raise ValueError(
            f"{where}: numbers of the files go from {min(numbered)} to {max(numbered)} where "
            f"{wanted[0]} to {wanted[-1]} is expected: unpack the archive again"
        )


def _read(path: Path) -> np.ndarray:
    """The pixels, RGB if there are three channels."""
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            fitting = np.issubdtype(values.dtype, np.floating)
        else:
            values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            fitting = values is not None and values.dtype == np.uint8
    except (OSError, ValueError, EOFError, cv2.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}): unpack the archive again") from error
    if not fitting:
        raise ValueError(
            f"{path}: must hold {'floats' if path.suffix == '.npy' else '8-bit pixels'} and be "
            "whole: unpack the archive again"
        )
    is_picture = path.suffix != ".npy" and values.ndim == 3
    return values[..., ::-1] if is_picture else values
