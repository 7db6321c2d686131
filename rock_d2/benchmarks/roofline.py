"""How near a computation comes to what the machine can do at most (Williams et al., 2009)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from rock_d2.benchmarks.timing import spread, take_turns


class Work(NamedTuple):
    """What a computation does.

    Attributes:
        flops: of convolutions and matrix products; a multiply-add is two.
        bytes: that its operations read and write, each by itself as they stand in the program.
    """

    flops: int
    bytes: int


class Machine(NamedTuple):
    """What a device does at most, measured.

    Attributes:
        flops: a second, in a large matrix product or convolution, whichever has more.
        bytes: a second, read and written in copying.
    """

    flops: float
    bytes: float

    def seconds(self, work: Work) -> float:
        """The least time that the work can take."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


class _ByteCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        # A view reads and writes nothing.
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, found)) if torch.is_tensor(t)]
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return found


def count_work(computation: Callable[[], Any]) -> Work:
    """Counts while the computation runs once."""
    with FlopCounterMode(display=False) as flops:
        computation()
    with _ByteCounter() as counter:
        computation()
    return Work(flops.get_total_flops(), counter.total)


def measure_machine(device: torch.device | str, dtype: torch.dtype = torch.float32) -> Machine:
    """The best of a few rounds: what else runs can only make them slower."""
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    size, length, channels = (8192, 2**28, 2048) if on_gpu else (1536, 2**24, 512)
    a = torch.rand(size, size, device=device).to(dtype)
    image = torch.rand(1, channels, 64, 64, device=device).to(dtype)
    kernels = torch.rand(channels, channels, 3, 3, device=device).to(dtype)
    image, kernels = (t.to(memory_format=torch.channels_last) for t in (image, kernels))
    source = torch.rand(length, device=device)
    target = torch.empty_like(source)
    candidates = {
        "product": lambda: a @ a,
        # Libraries differ: on CPUs oneDNN's convolutions may beat MKL's products.
        "convolution": lambda: F.conv2d(image, kernels, padding=1),
        "copy": lambda: target.copy_(source),
    }
    times = take_turns(candidates, rounds=5, warm_up=2, device=device)
    best = {name: seconds.min() for name, seconds in times.items()}
    copied = 2 * source.numel() * source.element_size()
    return Machine(
        flops=max(
            2 * size**3 / best["product"],
            2 * image.numel() * kernels[0].numel() / best["convolution"],
        ),
        bytes=copied / best["copy"],
    )


def fraction(machine: Machine, work: Work, seconds: Any) -> float:
    """The share of the measured times' median that the machine needs at least."""
    return machine.seconds(work) / spread(seconds).median
