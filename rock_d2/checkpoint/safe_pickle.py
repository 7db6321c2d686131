"""Unpickling NumPy arrays and plain values, and nothing else.

A pickle names functions and has them called, and hands states to what they return. Here names lead
to the stand-ins below only, so that neither a stranger's function runs nor NumPy itself takes a
stranger's state: a forged ``dtype`` could make it follow numbers as if they were addresses.
"""

import io
import math
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

NUMBER = re.compile(r"[<>=|]?(\?|[bBhHiIlLqQefd]|b1|[iu][1248]|f[248])")


class StoredType:
    """Stands for ``numpy.dtype``, of numbers only."""

    def __init__(self, code: str, *options: bool):
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise pickle.UnpicklingError("it holds an array of something else than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        """Of (version, byte order, ...) numbers have the first two only."""
        order = state[1]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it holds an array of something else than numbers")
        self.dtype = self.dtype.newbyteorder(order)

    def array(self, shape: tuple[int, ...], content: bytes | str, order: str) -> np.ndarray:
        """The numbers that ``content`` holds; Python 2's bytes come as Latin-1 text."""
        content = content.encode("latin1") if isinstance(content, str) else content
        if min(shape, default=0) < 0 or math.prod(shape) * self.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"it holds {len(content)} bytes for an array of {shape}")
        array = np.ndarray(shape, self.dtype, content, order=order)
        return array.astype(self.dtype.newbyteorder("="))


class StoredArray:
    """Stands for ``numpy.ndarray`` and for the function that pickles rebuild one by.

    Attributes:
        value: the array, once its state has come.
    """

    def __init__(self, *unused: Any):
        self.value = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, content = state
        self.value = kind.array(shape, content, order="F" if is_fortran else "C")


def stored_buffer(content: bytes, kind: StoredType, shape: tuple, order: str) -> StoredArray:
    """Protocol 5's form of an array."""
    array = StoredArray()
    array.value = kind.array(shape, bytes(content), order=order)
    return array


def stored_scalar(kind: StoredType, content: bytes | str) -> int | float | bool:
    return kind.array((), content, order="C").item()


def latin1_bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes: _codecs.encode(text, "latin1")."""
    return text.encode("latin1")


def no_bytes() -> bytes:
    return b""


# All that a file may name; NumPy 2 has `_core` in the place of `core`.
STAND_INS = {
    "_codecs.encode": latin1_bytes,
    "__builtin__.bytes": no_bytes,
    "collections.OrderedDict": OrderedDict,
    "numpy.dtype": StoredType,
    "numpy.ndarray": StoredArray,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (
            ("multiarray._reconstruct", StoredArray),
            ("multiarray.scalar", stored_scalar),
            ("numeric._frombuffer", stored_buffer),
        )
    },
}


# The one in Python: the one in C takes extension codes that another pickle has used unasked, and
# memory for as many objects as a file says that it holds.
class ArrayUnpickler(pickle._Unpickler):
    """Reads plain values and NumPy arrays, the latter as ``StoredArray``."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return STAND_INS[f"{module}.{name}"]

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it asks for extension {code}, which is not allowed")

    def persistent_load(self, identity: Any) -> None:
        raise pickle.UnpicklingError("it asks for a persistent object, which is not allowed")


def load_arrays(content: bytes) -> Any:
    """What a pickle of protocols 0 to 5 holds, Python 2's text and bytes as Latin-1."""
    return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
