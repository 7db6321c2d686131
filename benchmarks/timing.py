"""How long several things take under the same conditions, and their ratios."""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from rock_d2.engine.setup import machine


def take_turns(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int,
    device: str = "cpu",
) -> dict[str, np.ndarray]:
    """Return the seconds of each call, (rounds,) for each candidate.

    The candidates take turns, so that other work on the machine slows all of them alike.

    Args:
        candidates: the calls to measure, by name.
        rounds: how often each is measured.
        warm_up: rounds before that, which choose algorithms and fill caches.
        device: that the candidates compute on.
    """
    # A GPU works on while Python continues.
    wait = partial(torch.cuda.synchronize, device) if device != "cpu" else lambda: None
    times = np.empty((len(candidates), warm_up + rounds))
    for i in range(warm_up + rounds):
        for k, candidate in enumerate(candidates.values()):
            wait()
            start = time.perf_counter()
            candidate()
            wait()
            times[k, i] = time.perf_counter() - start
    return dict(zip(candidates, times[:, warm_up:], strict=True))


def spread(values: np.ndarray) -> str:
    """Return the median and the quartiles around it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return f"{median:.4g} ({low:.4g} to {high:.4g})"


def report(
    times: Mapping[str, np.ndarray], *, title: str, images: int = 1, file: Path | None = None
) -> None:
    """Print a table with ratios to the first; write all times of ``images`` images as JSON."""
    first = next(iter(times.values()))
    rows = [
        {
            "": name,
            "ms": spread(1e3 * seconds),
            "images/s": f"{images / np.median(seconds):.3g}",
            # Round by round, so that a slow round has no part in it.
            "ratio": spread(seconds / first),
        }
        for name, seconds in times.items()
    ]
    place = machine(on_gpu=torch.cuda.is_initialized())
    print(f"{title}; {place}\n\n{tabulate(rows, headers='keys', tablefmt='github')}\n")
    if file is not None:
        raw = {name: seconds.tolist() for name, seconds in times.items()}
        document = {"title": title, "machine": place, "seconds": raw}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=2) + "\n")
