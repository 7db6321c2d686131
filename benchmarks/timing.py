"""How long several things take under the same conditions, and what that is as a ratio."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate

from rock_d2.engine.machine import machine


class Goal(NamedTuple):
    """That ``name`` takes at most ``limit`` times as long as ``reference``."""

    name: str
    reference: str
    limit: float


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def take_turns(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int,
    device: torch.device | str = "cpu",
) -> dict[str, np.ndarray]:
    """Seconds for a call, (rounds,) for each candidate.

    They take turns, so that whatever else slows the machine down hits all of them alike.

    Args:
        candidates: what is measured, by name; what a method ``prepare`` does before is not.
        rounds: how often each is measured.
        warm_up: rounds before that, which choose algorithms and fill caches.
        device: what the candidates compute on.
    """
    device = torch.device(device)
    times = np.empty((len(candidates), warm_up + rounds))
    for i in range(warm_up + rounds):
        for k, candidate in enumerate(candidates.values()):
            getattr(candidate, "prepare", _nothing)()
            synchronise(device)
            start = time.perf_counter()
            candidate()
            synchronise(device)
            times[k, i] = time.perf_counter() - start
    return dict(zip(candidates, times[:, warm_up:], strict=True))


def chosen(names: Iterable[str], only: Sequence[str] | None) -> list[str]:
    """Those that ``only`` names, in its order, or all."""
    names = list(names)
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise ValueError(f"--only: {unknown[0]!r} is none of {'; '.join(names)}")
    return list(only or names)


def _nothing() -> None:
    pass


def synchronise(device: torch.device) -> None:
    """Waits for a GPU, which works on while Python goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Sequence[float]) -> Spread:
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def ratio(times: Mapping[str, np.ndarray], name: str, reference: str) -> Spread:
    """Round by round, so that what slows down a round has no part in it."""
    return spread(times[name] / times[reference])


def report(
    times: Mapping[str, np.ndarray],
    *,
    title: str,
    goals: Sequence[Goal] = (),
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    file: Path | None = None,
) -> None:
    """Prints a table and the goals, and writes both as JSON.

    Args:
        times: of ``take_turns``; ratios are to the first.
        title: what was measured, with its sizes.
        goals: those whose names were measured are printed.
        columns: further cells of the table by column and name.
        file: where to write the JSON, if anywhere.
    """
    first, columns = next(iter(times)), columns or {}
    rows = [
        {
            "": name,
            "ms": Spread(*(1e3 * value for value in spread(seconds))),
            "ratio": ratio(times, name, first),
            **{title: cells.get(name, "") for title, cells in columns.items()},
        }
        for name, seconds in times.items()
    ]
    place = machine(on_gpu=torch.cuda.is_initialized())
    print(f"{title}; {place}\n\n{tabulate(rows, headers='keys', tablefmt='github')}\n")
    reached = [
        {**goal._asdict(), "ratio": ratio(times, goal.name, goal.reference)._asdict()}
        for goal in goals
        if {goal.name, goal.reference} <= times.keys()
    ]
    for goal in reached:
        found = Spread(**goal["ratio"])
        print(f"{goal['name']} / {goal['reference']}: {found}, goal {goal['limit']}")
    if file is not None:
        raw = {name: [float(s) for s in seconds] for name, seconds in times.items()}
        document = {"title": title, "machine": place, "seconds": raw, "goals": reached}
        cells = {title: {k: str(v) for k, v in c.items()} for title, c in columns.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document | {"columns": cells}, indent=2) + "\n")
