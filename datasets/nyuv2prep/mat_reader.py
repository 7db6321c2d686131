"""Reads nyu_depth_v2_labeled.mat frame by frame.

MATLAB 7.3 files are HDF5 with the axes reversed: MATLAB's (480, 640, 3, N) is (N, 3, 640, 480).
Frames are numbered from 1 in messages, as in splits.mat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import h5py
import numpy as np

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, SCENE_CLASSES, THING_CLASSES

OFFICIAL_FRAMES = 1449
REMEDY = "download nyu_depth_v2_labeled.mat again"

_HEIGHT, _WIDTH = IMAGE_SIZE
ARRAYS = {
    "images": ((3, _WIDTH, _HEIGHT), np.uint8),
    "depths": ((_WIDTH, _HEIGHT), np.float32),
    "rawDepths": ((_WIDTH, _HEIGHT), np.float32),
    "labels": ((_WIDTH, _HEIGHT), np.uint16),
    "instances": ((_WIDTH, _HEIGHT), np.uint8),
}
CELLS = ("names", "scenes", "sceneTypes")

Value = TypeVar("Value")


@dataclass(frozen=True)
class MatFrame:
    """One frame as the file has it; H x W pixels.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        depth: float32 (H, W), in-painted, metres.
        raw_depth: float32 (H, W), metres, 0 where the sensor saw nothing.
        labels: uint16 (H, W), 1 to 894, 0 = unlabelled.
        instances: uint8 (H, W), from 1 within each label.
    """

    image: np.ndarray
    depth: np.ndarray
    raw_depth: np.ndarray
    labels: np.ndarray
    instances: np.ndarray


class LabeledMat:
    """The open file. Its variables are checked at once, its pixels when a frame is read.

    Attributes:
        num_frames: N.
        names: the label names; label i is ``names[i - 1]``.
        scenes: the video of each frame, "kitchen_0028a".
        scene_types: one of ``SCENE_CLASSES`` for each frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self.num_frames = self._check_arrays()
            self.names = self._strings("names", count=None)
            self.scenes = self._strings("scenes", count=self.num_frames)
            self.scene_types = self._strings("sceneTypes", count=self.num_frames)
            self._check_strings()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "LabeledMat":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def frame(self, index: int) -> MatFrame:
        """Reads and checks frame ``index``, counted from 0; nothing else is loaded."""
        image, depth, raw_depth, labels, instances = (self._read(name, index) for name in ARRAYS)
        frame = MatFrame(image.transpose(2, 1, 0), depth.T, raw_depth.T, labels.T, instances.T)
        frame = MatFrame(*map(np.ascontiguousarray, vars(frame).values()))
        self._check_depth("depths", frame.depth, index)
        self._check_depth("rawDepths", frame.raw_depth, index)
        self._check_labels(frame, index)
        return frame

    def depths(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """In-painted and raw depth of frame ``index`` alone."""
        depth, raw_depth = self._read("depths", index).T, self._read("rawDepths", index).T
        self._check_depth("depths", depth, index)
        self._check_depth("rawDepths", raw_depth, index)
        return depth, raw_depth

    def _read(self, name: str, index: int) -> np.ndarray:
        return self._guarded(f"{name}, frame {index + 1}", lambda: self._file[name][index])

    def _guarded(self, what: str, read: Callable[[], Value]) -> Value:
        # h5py raises OSError for damaged data, and others where damage hits its own structures.
        try:
            return read()
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{self.path}: {what} cannot be read ({_first_line(error)}): {REMEDY}"
            ) from error

    def _check_arrays(self) -> int:
        wanted = (*ARRAYS, *CELLS)
        there = self._guarded("its table of contents", lambda: [x in self._file for x in wanted])
        missing = [name for name, found in zip(wanted, there, strict=True) if not found]
        if missing:
            raise ValueError(
                f"{self.path}: variable {', '.join(missing)} is missing: this must be the labelled "
                f"data set of NYUv2; {REMEDY}"
            )
        counts = {}
        for name, (shape, dtype) in ARRAYS.items():
            found: Any = self._guarded(name, lambda name=name: self._file[name])
            is_array = isinstance(found, h5py.Dataset) and len(found.shape) == len(shape) + 1
            if not is_array or found.shape[1:] != shape or found.dtype != dtype:
                there = f"{found.dtype} {found.shape}" if is_array else f"{found}"
                raise ValueError(
                    f"{self.path}: {name} is {there} where {np.dtype(dtype)} (N, "
                    f"{', '.join(map(str, shape))}) is expected: {REMEDY}"
                )
            counts[name] = found.shape[0]
        if len(set(counts.values())) > 1 or not counts["images"]:
            raise ValueError(f"{self.path}: variables differ in frames, {counts}: {REMEDY}")
        return counts["images"]

    def _strings(self, name: str, count: int | None) -> list[str]:
        cell: Any = self._guarded(name, lambda: self._file[name])
        is_cell = isinstance(cell, h5py.Dataset) and h5py.check_ref_dtype(cell.dtype) is not None
        if not is_cell or cell.shape[0] != 1 or (count is not None and cell.shape[1] != count):
            raise ValueError(
                f"{self.path}: {name} must be a cell array of {count or 'label'} strings, found "
                f"{cell}: {REMEDY}"
            )

        def read() -> list[str]:
            return ["".join(map(chr, self._file[ref][()].ravel())) for ref in cell[0]]

        return self._guarded(name, read)

    def _check_strings(self) -> None:
        missing = [name for name in THING_CLASSES if name not in self.names]
        if missing:
            raise ValueError(f"{self.path}: names lacks {', '.join(missing)}: {REMEDY}")
        for number, kind in enumerate(self.scene_types, start=1):
            if kind not in SCENE_CLASSES:
                raise ValueError(
                    f"{self.path}: sceneTypes, frame {number}: '{kind}' is none of the "
                    f"{len(SCENE_CLASSES)} scene types of NYUv2: {REMEDY}"
                )
        absent = set(SCENE_CLASSES) - set(self.scene_types)
        if self.num_frames == OFFICIAL_FRAMES and absent:
            raise ValueError(
                f"{self.path}: sceneTypes never says {', '.join(sorted(absent))}: {REMEDY}"
            )

    def _check_depth(self, name: str, depth: np.ndarray, index: int) -> None:
        # Comparisons with NaN are false. A part of a file that was never written reads as zeros.
        in_range = (depth >= 0) & (depth < 65.535)
        if not in_range.all() or not depth.any():
            found = f"{(~in_range).sum()} values" if depth.any() else "all values are 0, none"
            raise ValueError(
                f"{self.path}: {name}, frame {index + 1}: {found} outside 0 to 65.5 m: {REMEDY}"
            )

    def _check_labels(self, frame: MatFrame, index: int) -> None:
        labels, instances = frame.labels, frame.instances
        if labels.max() > len(self.names) or not labels.any():
            raise ValueError(
                f"{self.path}: labels, frame {index + 1}: highest is {labels.max()} where 1 to "
                f"{len(self.names)} are named: {REMEDY}"
            )
        orphans = np.count_nonzero((labels == 0) & (instances > 0))
        if orphans:
            raise ValueError(
                f"{self.path}: labels and instances, frame {index + 1}: {orphans} pixels have an "
                f"instance but no label: {REMEDY}"
            )


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; --mat names it")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not an HDF5 (MATLAB 7.3) file: {REMEDY}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be opened ({_first_line(error)}), probably cut short: {REMEDY}"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
