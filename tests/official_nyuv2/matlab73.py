"""Enough of MATLAB's v7.3 format (HDF5 with a header) for arrays and cells of strings.

MATLAB stores arrays column by column, so that h5py shows every shape reversed: a MATLAB array of
480 x 640 x N is (N, 640, 480) here, and all shapes below are h5py's.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

USER_BLOCK_SIZE = 512
# MATLAB knows its files by the first words, and the date must not differ between two equal runs.
CREATOR = "Platform: rock_d2 rooms, Created on: Thu Jan 01 00:00:00 1970"
# Bytes 116-123: offset of subsystem data (none); then version 2.0 and the mark of little-endian.
HEADER_END = bytes(8) + b"\x00\x02IM"
REFERENCES = "#refs#"
DEFLATE_LEVEL = 3
CLASS_NAMES = {"float32": "single", "float64": "double", "uint8": "uint8", "uint16": "uint16"}


def create_file(path: Path) -> h5py.File:
    """Opens an empty file that has room for the header; call `write_header` once it is closed."""
    return h5py.File(path, "w", userblock_size=USER_BLOCK_SIZE)


def write_header(path: Path) -> None:
    """Fills the user block, which HDF5 leaves to the application."""
    text = f"MATLAB 7.3 MAT-file, {CREATOR} HDF5 schema 1.00 ."
    header = text.encode("ascii").ljust(116) + HEADER_END
    with open(path, "r+b") as file:
        file.write(header.ljust(USER_BLOCK_SIZE, b"\0"))


def version5_text() -> bytes:
    """The 116 bytes of text that open a file of MATLAB's older format."""
    return f"MATLAB 5.0 MAT-file, {CREATOR}".encode("ascii").ljust(116)


def create_stack(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype | type
) -> h5py.Dataset:
    """An array to be written one ``[i]`` at a time, hence with one compressed chunk for each."""
    array = file.create_dataset(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, *shape[1:]),
        compression="gzip",
        compression_opts=DEFLATE_LEVEL,
    )
    return _with_class(array, CLASS_NAMES[array.dtype.name])


def write_array(file: h5py.File, name: str, values: np.ndarray) -> None:
    _with_class(file.create_dataset(name, data=values), CLASS_NAMES[values.dtype.name])


def write_cell(file: h5py.File, name: str, strings: Sequence[str]) -> None:
    """An N x 1 cell of strings: (1, N) references to (length, 1) UTF-16 codes in ``#refs#``."""
    group = file.require_group(REFERENCES)
    references = np.empty((1, len(strings)), dtype=h5py.ref_dtype)
    for column, string in enumerate(strings):
        codes = np.array([ord(character) for character in string], dtype=np.uint16)[:, None]
        text = _with_class(group.create_dataset(f"{name}_{column}", data=codes), "char")
        text.attrs["MATLAB_int_decode"] = np.int32(2)
        references[0, column] = text.ref
    _with_class(file.create_dataset(name, data=references, dtype=h5py.ref_dtype), "cell")


def _with_class(array: h5py.Dataset, class_name: str) -> h5py.Dataset:
    # NumPy bytes become a string of fixed length, the only kind that MATLAB looks for.
    array.attrs["MATLAB_class"] = np.bytes_(class_name)
    return array
