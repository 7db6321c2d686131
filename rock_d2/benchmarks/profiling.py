"""Where the time of a computation goes, operator by operator."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from rock_d2.benchmarks.timing import synchronise

REPEATS, ROWS = 5, 15
PROFILED = 2


class Operator(NamedTuple):
    """What all calls of an operator take in one computation, without what these call.

    The profiler's own work is in it, which tells where calls are many and short.
    """

    operator: str
    calls: int
    ms: float


def print_profiles(candidates: Mapping[str, Callable[[], Any]], device: torch.device | str) -> None:
    """Prints a table of the dearest operators for each of the first candidates, once warm."""
    for name, candidate in islice(candidates.items(), PROFILED):
        found = operators(candidate, torch.device(device))
        total = sum(operator.ms for operator in found)
        rows = [(*operator, f"{operator.ms / total:.1%}") for operator in found[:ROWS]]
        headers = [*Operator._fields, "share"]
        table = tabulate(rows, headers=headers, tablefmt="github", floatfmt=".3g")
        calls = sum(operator.calls for operator in found)
        print(f"\n{name}: {total:.3g} ms in {calls} calls\n\n{table}")


def operators(computation: Callable[[], Any], device: torch.device) -> list[Operator]:
    """Those of a computation with the least of several times, the dearest first."""
    on_gpu, found = device.type == "cuda", {}
    for _ in range(REPEATS):
        with profile(activities=[getattr(ProfilerActivity, device.type.upper())]) as profiler:
            computation()
            synchronise(device)
        for event in profiler.key_averages():
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            now = Operator(event.key, event.count, spent / 1e3)
            found[event.key] = min(found.get(event.key, now), now, key=lambda x: x.ms)
    return sorted(found.values(), key=lambda x: -x.ms)
