"""Reading of files with weights, without running any code that they may hold."""

import io
import json
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

LONGEST_REASON = 200
# Where the tensors are in files that hold more: of Detectron2, torchvision and timm, Detectron.
WRAPPERS = ("model", "state_dict", "blobs")
# What tools/export_weights.py keeps of a checkpoint beside its tensors, each as JSON.
FACTS = ("style", "classes")


def read_weights(path: str | Path) -> dict[str, Any]:
    """Return what a file holds: its tensors by name as ``model``, and the rest by its own names.

    It is a .safetensors file, a .pkl file of NumPy arrays, or a file of ``torch.save``.
    """
    try:
        content = _read(Path(path))
    except Exception as error:  # pickle documents that a damaged file may raise any of them
        if isinstance(error, OSError) and error.filename:
            raise
        # Around the cause, PyTorch explains how to read such files without any precaution.
        reason = repr(error.__context__ or error)[:LONGEST_REASON]
        raise ValueError(
            f"{path}: damaged, or more than tensors and plain values: {reason}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    wrapper = next((key for key in WRAPPERS if key in content), None)
    tensors = content.pop(wrapper) if wrapper else content
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise ValueError(f"{path}: `{wrapper}` holds no tensors by name")
    consume_prefix_in_state_dict_if_present(tensors, "module.")
    for name, value in tensors.items():
        # In place: a state dict keeps the versions of its modules.
        tensors[name] = _plain_tensor(path, name, value)
    return {**(content if wrapper else {}), "model": tensors}


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            facts = {
                key: json.loads(x) for key, x in (file.metadata() or {}).items() if key in FACTS
            }
        return {"model": tensors, **facts} if facts else tensors
    if path.suffix == ".pkl":
        return load_arrays(path.read_bytes())
    return torch.load(path, map_location="cpu", weights_only=True)


def _plain_tensor(path: str | Path, name: str, value: Any) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{path}: `{name}` is a {type(value).__name__}, not a tensor")
    is_plain = value.layout == torch.strided and not (
        value.is_quantized or value.is_complex() or value.is_nested or value.is_meta
    )
    # An expanded tensor states any size without taking any memory.
    if not is_plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(
            f"{path}: `{name}` is sparse, quantized, complex or repeats its memory; save it as "
            "an ordinary tensor"
        )
    if value.is_floating_point() and not value.float().isfinite().all():
        raise ValueError(f"{path}: `{name}` has values that are NaN or infinite")
    return value


def load_arrays(content: bytes) -> Any:
    """Return what a pickle holds: plain values and NumPy arrays of numbers.

    Python 2's text and bytes are read as Latin-1.
    """
    for _, argument, _ in pickletools.genops(content):
        # See _number_type: the byte order of arrays would be ignored.
        if argument == ">":
            raise pickle.UnpicklingError("it holds big-endian numbers")
    return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()


class ArrayUnpickler(pickle.Unpickler):
    """Calls the functions of ``ALLOWED`` and no others."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 has `_core` in the place of `core`.
        function = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if function not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return ALLOWED[function]


def _number_type(code: str | np.dtype, *_: bool) -> np.dtype:
    """Return NumPy's own type, not a copy: it ignores the state that a pickle gives it.

    A forged state could make NumPy follow numbers as if they were addresses.
    """
    dtype = np.dtype(code)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise pickle.UnpicklingError("it holds an array of something else than numbers")
    return dtype


def _buffer_array(content: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(bytearray(content), _number_type(dtype)).reshape(shape, order=order)


# All that a pickle may name.
ALLOWED = {
    "collections.OrderedDict": OrderedDict,
    # How protocols 0 to 2 write bytes.
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),
    "__builtin__.bytes": bytes,
    "numpy.dtype": _number_type,
    # An array gets shape, type and content after it is made. Its class is an argument only.
    "numpy.core.multiarray._reconstruct": lambda *_: np.zeros(0, np.uint8),
    "numpy.ndarray": None,
    # Protocol 5.
    "numpy.core.numeric._frombuffer": _buffer_array,
}
