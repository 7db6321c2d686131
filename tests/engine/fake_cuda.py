"""A GPU without numbers, on any machine: what is asked of it, and what makes the host wait for it.

PyTorch's fake tensors have a device and a shape and follow the device's rules: a GPU's do not mix
with the host's, and whatever a value decides raises an error.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from tape import tensors_in
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")
aten = torch.ops.aten
FUSED = {"_fused_adam_", "_fused_adamw_", "_fused_sgd_"}
needs_cuda_build = pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="PyTorch knows no CUDA"
)
# They ask a tensor what it is.
QUESTIONS = {"prim", "profiler"}


class FakeGpu(TorchDispatchMode):
    """Lets the host's tensors be real and the GPU's fake, and nobody wait.

    Attributes:
        log: the GPU's operations and what the host does about them, in order.
        is_recording: whether the host's tensors are out of reach.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Any] = []
        self.is_recording = False
        # By their addresses; kept, so that these stay theirs.
        self._pinned: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace in QUESTIONS:
            return func(*args, **kwargs)
        given = [isinstance(tensor, FakeTensor) for tensor in tensors_in((args, kwargs))]
        device = kwargs.get("device")
        is_target = any(given) if device is None else torch.device(device).type == "cuda"
        if not any(given) and not is_target:
            assert not self.is_recording, f"{func} is the host's"
            return self._on_host(func, args, kwargs)
        if all(given) and is_target:
            self.log.append(func)
            return self._fused(args, kwargs) if name_of(func) in FUSED else func(*args, **kwargs)
        return self._between(func, *args, **kwargs)

    def _on_host(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if func is aten.is_pinned.default:
            return args[0].data_ptr() in self._pinned
        if func is aten._pin_memory.default:
            return self.pin(args[0])
        pins = kwargs.get("pin_memory")
        with unset_fake_temporarily():
            found = func(*args, **(kwargs | {"pin_memory": False} if pins else kwargs))
        return self.pin(found) if pins else found

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        with unset_fake_temporarily():
            tensor = tensor.clone()
        self._pinned[tensor.data_ptr()] = tensor
        return tensor

    def _between(self, func: Any, first: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Copies from the host and to it, which must not hold it up."""
        assert func in (aten._to_copy.default, aten.copy_.default), f"{func} mixes devices"
        assert not self.is_recording, f"{func} would read or write the host's memory as it is now"
        ours = [x for x in tensors_in((first, args)) if not isinstance(x, FakeTensor)]
        is_queued = kwargs.get("non_blocking") or args[1:] == (True,)
        assert ours and is_queued, "the host waits for a copy"
        assert ours[0].data_ptr() in self._pinned, "CUDA waits with memory that is not pinned"
        self.log.append("copies")
        if func is aten.copy_.default:
            return first
        return shell(first).to(kwargs.get("dtype") or first.dtype)

    def _fused(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Fake tensors have no such kernel; CUDA's read fp32, and numbers as they were recorded."""
        assert {x.dtype for x in tensors_in((args, kwargs))} == {torch.float32}
        for name in ("lr", "found_inf"):
            assert not isinstance(kwargs[name], torch.Tensor) or kwargs[name].numel() == 1
        assert isinstance(kwargs["lr"], torch.Tensor) or not self.is_recording

    def take(self, model: nn.Module) -> None:
        """Moves a model to it, in place."""
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    module._parameters[name] = nn.Parameter(shell(value), value.requires_grad)
            for name, value in module._buffers.items():
                module._buffers[name] = None if value is None else shell(value)

    def pinned(self, batches: Sequence[Sequence[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Batches as a loader's thread hands them over."""
        return [
            [
                {key: self.pin(x) if isinstance(x, torch.Tensor) else x for key, x in item.items()}
                for item in batch
            ]
            for batch in batches
        ]


def shell(x: torch.Tensor) -> torch.Tensor:
    """A tensor on the GPU in place of one of the host's."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda")


def name_of(entry: Any) -> str:
    return entry if isinstance(entry, str) else entry.overloadpacket.__name__


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """All of PyTorch that asks for a driver is told that there is one."""
    gpu = FakeGpu()

    class Event:
        def record(self, stream: Any = None) -> None:
            gpu.log.append("records")

        def synchronize(self) -> None:
            gpu.log.append("waits")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: None)
        patch.setattr(_foreach_utils, "_foreach_supported_types", [torch.Tensor, FakeTensor])
        patch.setattr(torch.Tensor, "backward", backward)
        with FakeTensorMode(), gpu:
            yield gpu


class FakeRecorder:
    """A Recorder of fake GPUs."""

    def __init__(self, gpu: FakeGpu):
        self._gpu = gpu
        self._recorded: list[Any] = []
        self.num_played = 0

    def warm_up(self, function: Callable[[], T]) -> T:
        return function()

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        start = len(self._gpu.log)
        self._gpu.is_recording = True
        found = function()
        self._gpu.is_recording = False
        self._recorded = self._gpu.log[start:]

        def play() -> T:
            self.num_played += 1
            return found

        return play

    def counts(self) -> Counter[str]:
        """How often each operation was recorded."""
        return Counter(name_of(entry) for entry in self._recorded)


@torch.no_grad()
def backward(tensor: torch.Tensor) -> None:
    """Tensor.backward on the graph that PyTorch made: its own engine starts a thread of a GPU."""
    root = tensor.grad_fn
    waiting = edges_into(root)
    one = torch.ones_like(tensor)
    gradients: dict[Any, dict[int, torch.Tensor]] = {root: {tensor.output_nr: one}}
    # The latest first, as the engine.
    ready = [(-root._sequence_nr(), 0, root)]
    while ready:
        *_, node = heapq.heappop(ready)
        given = gradients.pop(node, {})
        if hasattr(node, "variable"):
            own = node.variable.grad
            node.variable.grad = given[0] if own is None else own + given[0]
            continue
        inputs = [given.get(i) for i in range(len(node._input_metadata))]
        for i, (x, meta) in enumerate(zip(inputs, node._input_metadata, strict=True)):
            if x is not None:
                assert x.device == meta.device, f"{node.name()} was given another device's gradient"
                inputs[i] = x.to(meta.dtype).sum_to_size(tuple(meta.shape))
        found = node(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        for (following, i), x in zip(node.next_functions, found, strict=True):
            if following is None:
                continue
            if x is not None:
                sums = gradients.setdefault(following, {})
                sums[i] = sums[i] + x if i in sums else x
            waiting[following] -= 1
            if not waiting[following]:
                heapq.heappush(ready, (-following._sequence_nr(), id(following), following))


def edges_into(root: Any) -> Counter:
    """How many gradients each node of a graph is given."""
    edges: Counter = Counter()
    nodes, seen = [root], {root}
    while nodes:
        for following, _ in nodes.pop().next_functions:
            if following is not None:
                edges[following] += 1
                if following not in seen:
                    seen.add(following)
                    nodes.append(following)
    return edges
