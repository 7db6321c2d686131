"""nyu_depth_v2_labeled.mat (MATLAB 7.3, which is HDF5 behind a header) and splits.mat.

MATLAB stores arrays column by column, so that h5py shows every shape reversed: a MATLAB array of
480 x 640 x N is (N, 640, 480) here, and all shapes below are h5py's.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from roomgen.frame import Frame
from roomgen.sensor import kinect_holes

from official_nyuv2.labels import label_ids, labels_and_instances, with_white_border
from official_nyuv2.normals import NormalsTree

MAT_NAME = "nyu_depth_v2_labeled.mat"
SPLITS_NAME = "splits.mat"

USER_BLOCK_SIZE = 512
HEADER = b"MATLAB 7.3 MAT-file, Platform: rock_d2 rooms HDF5 schema 1.00 ."
# Bytes 116-123: offset of subsystem data (none); then version 2.0 and the mark of little-endian.
HEADER_END = bytes(8) + b"\x00\x02IM"


def write_official_files(
    frames: Sequence[Frame],
    videos: Sequence[str],
    test_frames: Collection[int],
    root: Path,
    *,
    seed: int = 0,
    normals: Sequence[NormalsTree] = (),
) -> None:
    """Write both .mat files and the folders of normals.

    Args:
        frames: 480 x 640.
        videos: the sequence of each frame.
        test_frames: indices of the frames of the test split, counted from 0.
        root: the folder to write to.
        seed: of the sensor; frame i draws from (seed, i) alone.
        normals: the layouts to write.
    """
    root.mkdir(parents=True, exist_ok=True)
    raw_depths = [
        _sensor_depth(frame, np.random.default_rng([seed, i])) for i, frame in enumerate(frames)
    ]
    with h5py.File(root / MAT_NAME, "w", userblock_size=USER_BLOCK_SIZE) as file:
        labels, instances = zip(*map(labels_and_instances, frames), strict=True)
        images = [with_white_border(frame.image).transpose(2, 1, 0) for frame in frames]
        _write_stack(file, "images", images)
        _write_stack(file, "depths", [frame.depth.T for frame in frames])
        _write_stack(file, "rawDepths", [depth.T for depth in raw_depths])
        _write_stack(file, "labels", [x.T for x in labels])
        _write_stack(file, "instances", [x.T for x in instances])
        _write_cell(file, "names", list(label_ids()))
        _write_cell(file, "scenes", videos)
        _write_cell(file, "sceneTypes", [frame.scene_type for frame in frames])
    with open(root / MAT_NAME, "r+b") as file:
        file.write((HEADER.ljust(116) + HEADER_END).ljust(USER_BLOCK_SIZE, b"\0"))
    _write_splits(root / SPLITS_NAME, len(frames), test_frames)
    for tree in normals:
        for index, frame in enumerate(frames):
            split = "test" if index in test_frames else "train"
            tree.write(root, index, frame.normals, raw_depths[index] > 0, split)


def _write_stack(file: h5py.File, name: str, values: Sequence[np.ndarray]) -> None:
    """One compressed chunk for each frame."""
    stack = np.stack(values)
    file.create_dataset(name, data=stack, chunks=(1, *stack.shape[1:]), compression="gzip")


def _write_cell(file: h5py.File, name: str, strings: Sequence[str]) -> None:
    """An N x 1 cell of strings: (1, N) references to (length, 1) UTF-16 codes in ``#refs#``."""
    group = file.require_group("#refs#")
    references = np.empty((1, len(strings)), dtype=h5py.ref_dtype)
    for column, string in enumerate(strings):
        codes = np.array([[ord(character)] for character in string], dtype=np.uint16)
        references[0, column] = group.create_dataset(f"{name}_{column}", data=codes).ref
    file.create_dataset(name, data=references, dtype=h5py.ref_dtype)


def _write_splits(path: Path, num_frames: int, test_frames: Collection[int]) -> None:
    is_test = np.isin(np.arange(num_frames), list(test_frames))
    columns = {"trainNdxs": ~is_test, "testNdxs": is_test}
    numbers = {
        name: (np.flatnonzero(chosen)[:, None] + 1).astype(np.uint16)
        for name, chosen in columns.items()
    }
    scipy.io.savemat(path, numbers)


def _sensor_depth(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    holed = kinect_holes(frame.depth, frame.normals, frame.instances, rng)
    return np.where(holed > 0, holed + np.float32(0.01), 0)
