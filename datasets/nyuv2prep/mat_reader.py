"""Reader of nyu_depth_v2_labeled.mat, frame by frame.

MATLAB 7.3 files are HDF5 with the axes reversed: MATLAB's (480, 640, 3, N) is (N, 3, 640, 480).
Frames are numbered from 1 in messages, as in splits.mat.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nyuv2prep.classes import class_of_name
from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, SCENE_CLASSES, THING_CLASSES

try:
    import h5py
except ImportError as error:
    raise ImportError('NYUv2\'s files need h5py: pip install -e ".[nyuv2]"') from error

OFFICIAL_FRAMES = 1449
# Characters of a name.
LONGEST_TEXT = 1000
REMEDY = "download nyu_depth_v2_labeled.mat again"

_HEIGHT, _WIDTH = IMAGE_SIZE
ARRAYS = {
    "images": ((3, _WIDTH, _HEIGHT), np.uint8),
    "depths": ((_WIDTH, _HEIGHT), np.float32),
    "rawDepths": ((_WIDTH, _HEIGHT), np.float32),
    "labels": ((_WIDTH, _HEIGHT), np.uint16),
    "instances": ((_WIDTH, _HEIGHT), np.uint8),
}


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
        counts = {name: self._count_frames(name) for name in ARRAYS}
        self.names = self._strings("names")
        self.scenes = self._strings("scenes")
        self.scene_types = self._strings("sceneTypes")
        self._check_strings()
        counts |= {"scenes": len(self.scenes), "sceneTypes": len(self.scene_types)}
        if len(set(counts.values())) > 1 or not self.scenes:
            raise ValueError(f"{path}: variables differ in frames, {counts}: {REMEDY}")
        self.num_frames = len(self.scenes)

    def close(self) -> None:
        self._file.close()

    def frame(self, index: int) -> MatFrame:
        """Read and check frame ``index``, counted from 0; nothing else is loaded."""
        depth, raw_depth = self.depths(index)
        image = self._read("images", index)
        labels, instances = self._read("labels", index), self._read("instances", index)
        with self._naming(f"labels, frame {index + 1}"):
            if labels.max() > len(self.names) or not labels.any():
                raise ValueError(
                    f"highest is {labels.max()} where 1 to {len(self.names)} are named"
                )
        # A pixel without a label is of no object.
        return MatFrame(image, depth, raw_depth, labels, np.where(labels > 0, instances, 0))

    def depths(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return in-painted and raw depth of frame ``index`` alone."""
        return self._read_depth("depths", index), self._read_depth("rawDepths", index)

    def _read_depth(self, name: str, index: int) -> np.ndarray:
        depth = self._read(name, index)
        with self._naming(f"{name}, frame {index + 1}"):
            # Comparisons with NaN are false.
            wrong = np.count_nonzero(~((depth >= 0) & (depth < 65.535)))
            if wrong:
                raise ValueError(f"{wrong} values outside 0 to 65.5 m")
            # A part of a file that was never written reads as zeros.
            if not depth.any():
                raise ValueError("all values are 0")
        return depth

    def _read(self, name: str, index: int) -> np.ndarray:
        with self._naming(f"{name}, frame {index + 1}"):
            return np.ascontiguousarray(self._file[name][index].T)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        # h5py raises OSError for damaged data, and others where damage hits its own structures.
        try:
            yield
        except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: {what}: {_first_line(error)}: {REMEDY}") from error

    def _count_frames(self, name: str) -> int:
        shape, dtype = ARRAYS[name]
        with self._naming(name):
            array = self._file[name]
            if array.shape[1:] != shape or array.dtype != dtype:
                raise ValueError(
                    f"is {array.dtype} {array.shape}, not {np.dtype(dtype)} (N, *{shape})"
                )
            return array.shape[0]

    def _strings(self, name: str) -> list[str]:
        with self._naming(f"{name}, a cell array of strings"):
            references = self._file[name]
            # Chunks that were never written take no place, and can be said to have any size.
            if references.nbytes > self.path.stat().st_size:
                raise ValueError(f"states {references.nbytes:,} bytes, more than the file has")
            return [self._text(reference) for reference in references[0]]

    def _text(self, reference: h5py.Reference) -> str:
        text = self._file[reference]
        if text.size > LONGEST_TEXT:
            raise ValueError(f"one has {text.size:,} characters")
        return "".join(map(chr, text[()].ravel()))

    def _check_strings(self) -> None:
        missing = [name for name in THING_CLASSES if name not in self.names]
        if missing:
            raise ValueError(f"{self.path}: names lacks {', '.join(missing)}: {REMEDY}")
        unknown = [name for name in self.names if name not in class_of_name()]
        if unknown:
            raise ValueError(
                f"{self.path}: names has {unknown[0]!r}, which is no label of NYUv2: {REMEDY}"
            )
        for number, kind in enumerate(self.scene_types, start=1):
            if kind not in SCENE_CLASSES:
                raise ValueError(
                    f"{self.path}: sceneTypes, frame {number}: '{kind}' is none of the "
                    f"{len(SCENE_CLASSES)} scene types of NYUv2: {REMEDY}"
                )


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; --mat names it")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: not a MATLAB 7.3 (HDF5) file, or cut short ({_first_line(error)}): {REMEDY}"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
