"""The random generators of a process, as plain values and tensors."""

import os
import random
from typing import Any

import numpy as np
import torch


def compute_the_same(enabled: bool) -> None:
    """Whether the same computation gives the same bits each time, on GPUs, too."""
    if enabled:
        # cuBLAS asks for it, and reads it when the GPU is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Only where it changes something, since it imports PyTorch's compiler.
    if torch.are_deterministic_algorithms_enabled() != enabled:
        torch.use_deterministic_algorithms(enabled)


def random_state() -> dict[str, Any]:
    """Of Python's, NumPy's and PyTorch's global generators, and of the GPU where one is used."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
