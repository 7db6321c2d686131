"""Reading files of weights without running any code that they may hold."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

# What damaged files raise; pickle documents that it may be any of the second line.
READ_ERRORS = (
    *(pickle.UnpicklingError, RuntimeError, SafetensorError),
    *(AttributeError, EOFError, ImportError, IndexError, KeyError, TypeError, ValueError),
)


def read_checkpoint(path: str) -> dict[str, Any]:
    """What a file holds, its tensors under ``model``."""
    try:
        content = _read(path)
    except READ_ERRORS as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: damaged, or more than tensors and numbers: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    wrapper = next((key for key in ("model", "state_dict", "blobs") if key in content), None)
    tensors = content.pop(wrapper) if wrapper else content
    model = {name.removeprefix("module."): _tensor(path, name, x) for name, x in tensors.items()}
    return {**(content if wrapper else {}), "model": model}


def _tensor(path: str, name: str, value: Any) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{path}: `{name}` is a {type(value).__name__}, not a tensor")
    return value


def _read(path: str) -> dict[str, Any]:
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        return load_file(path)
    if suffix == ".pkl":
        with open(path, "rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    with torch.serialization.safe_globals(NUMPY_GLOBALS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes: _codecs.encode(text, "latin1")."""
    return text.encode("latin1")


# Where NumPy keeps these moved with version 2, so they are taken from what it pickles.
_RECONSTRUCT = np.zeros(1).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
NUMPY_GLOBALS = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


PICKLE_GLOBALS = {
    "_codecs.encode": _latin1,
    "collections.OrderedDict": OrderedDict,
    "numpy.dtype": np.dtype,
    "numpy.ndarray": np.ndarray,
    "numpy.core.multiarray._reconstruct": _RECONSTRUCT,
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy.core.numeric._frombuffer": _FROM_BUFFER,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads builtin containers and NumPy arrays, and refuses to look up anything else."""

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("numpy._core", "numpy.core")
        if wanted not in PICKLE_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return PICKLE_GLOBALS[wanted]
