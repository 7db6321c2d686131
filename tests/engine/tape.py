"""A stand-in for CUDA graphs: what they do to memory, done on any device."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


class Tape(TorchDispatchMode):
    """Writes down every operation and can do them again: from and to the same memory.

    As in a graph, what Python decided and the numbers it passed stay what they were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, tuple, dict[str, Any], list[torch.Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # The host would wait for a value.
        assert "_local_scalar_dense" not in str(func) and "nonzero" not in str(func)
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            given = {id(tensor) for tensor in tensors_in((args, kwargs))}
            new = [tensor for tensor in tensors_in(found) if id(tensor) not in given]
            self._operations.append((func, args, kwargs or {}, new))
        return found

    def play(self) -> None:
        for func, args, kwargs, outputs in self._operations:
            given = {id(tensor) for tensor in tensors_in((args, kwargs))}
            found = [x for x in tensors_in(func(*args, **kwargs)) if id(x) not in given]
            for output, new in zip(outputs, found, strict=True):
                output.copy_(new)


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class TapeRecorder:
    """A Recorder for the CPU.

    Args:
        state: all tensors that a function may change, since a tape only records what happens.
    """

    def __init__(self, state: Callable[[], list[torch.Tensor]]):
        self._state = state
        self.num_recorded = self.num_played = 0

    def warm_up(self, function: Callable[[], T]) -> T:
        return function()

    @torch.no_grad()
    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        before = [(tensor, tensor.clone()) for tensor in self._state()]
        tape = Tape()
        with torch.enable_grad(), tape:
            found = function()
        for tensor, value in before:
            tensor.copy_(value)
        self.num_recorded += 1

        def play() -> T:
            self.num_played += 1
            with torch.no_grad():
                tape.play()
            return found

        return play
