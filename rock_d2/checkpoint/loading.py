"""Files of weights, read without running any code that they may hold, and written safely."""

import json
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rock_d2.files import atomic_file
from rock_d2.checkpoint.safe_pickle import STAND_INS, StoredArray, load_arrays

# What damaged files raise; pickle documents that it may be any of the second line.
READ_ERRORS = (
    *(pickle.UnpicklingError, RuntimeError, SafetensorError, MemoryError, OverflowError),
    *(AttributeError, EOFError, ImportError, IndexError, KeyError, TypeError, ValueError),
    # Of a pickle that ends within a number.
    struct.error,
    # Of a size in the file that no file has, without the file's name.
    OSError,
)
LONGEST_REASON = 200
WRAPPERS = ("model", "state_dict", "blobs")


def read_checkpoint(path: str) -> dict[str, Any]:
    """What a file holds, its tensors under ``model``."""
    try:
        content = _with_arrays(_read(path))
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise ValueError(
            f"{path}: damaged, or more than tensors and numbers: {_reason(error)}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    wrapper = next((key for key in WRAPPERS if key in content), None)
    tensors = content.pop(wrapper) if wrapper else content
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise ValueError(f"{path}: `{wrapper}` holds no tensors by name")
    model = {name.removeprefix("module."): _tensor(path, name, x) for name, x in tensors.items()}
    return {**(content if wrapper else {}), "model": model}


def _reason(error: Exception) -> str:
    """What an error says, in one sentence."""
    if isinstance(error, pickle.UnpicklingError) and error.__context__:
        # Around what it has found, PyTorch explains how to read such files without any care.
        error = error.__context__
    sentence = re.split(r"\. |\n", str(error).strip())[0].partition(" was not an allowed")[0]
    return sentence[:LONGEST_REASON] or type(error).__name__


def _with_arrays(value: Any) -> Any:
    """The same with the arrays that it stands for; RecursionError if it holds itself."""
    if isinstance(value, StoredArray):
        return value.value
    if isinstance(value, dict):
        return {key: _with_arrays(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_arrays(part) for part in value)
    return value


def _tensor(path: str, name: str, value: Any) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{path}: `{name}` is a {type(value).__name__}, not a tensor")
    return value


def _read(path: str) -> Any:
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            style = (file.metadata() or {}).get("style")
        return {"model": tensors, "style": json.loads(style)} if style else tensors
    if suffix == ".pkl":
        return load_arrays(Path(path).read_bytes())
    # PyTorch refuses all but its own tensors and plain values, and what is named here.
    with torch.serialization.safe_globals([(value, name) for name, value in STAND_INS.items()]):
        return torch.load(path, map_location="cpu", weights_only=True)


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], *, style: Mapping[str, Any]
) -> None:
    """Writes weights in a form that holds nothing else, with how their images come.

    Args:
        path: the file, whole or as it was before.
        tensors: by name.
        style: of ``BackboneStyle.settings``; it is what ``read_checkpoint`` calls so.
    """
    # The format knows neither views nor tensors that share memory.
    content = save(
        {name: x.detach().clone().contiguous() for name, x in tensors.items()},
        metadata={"format": "pt", "style": json.dumps(style)},
    )
    with atomic_file(path) as file:
        file.write(content)
