"""The files that finished runs have left in their folders."""

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from reproduce.plan import Run


@dataclass
class Outcome:
    """A finished run.

    Attributes:
        run: which.
        metrics: ``<task>/<metric>``, all that the last evaluation could measure.
        log: the scalars of metrics.json by iteration.
    """

    run: Run
    metrics: dict[str, float]
    log: dict[int, dict[str, float]]

    def costs(self) -> dict[str, float]:
        """Return hours of the training's steps, most memory, and training images a second."""
        steps = {i: line for i, line in self.log.items() if "time" in line}
        if not steps:
            return {}
        first = next(iter(steps.values()))
        seconds = fmean(line["time"] for line in steps.values())
        return {
            "hours": seconds * (max(steps) + 1) / 3600,
            "memory_gb": max(line["memory_gb"] for line in steps.values()),
            "images_per_second": first["images_per_second"] * first["time"] / seconds,
        }

    def environment(self, fact: str) -> str:
        """Return a fact of environment.txt: ``commit`` of the code, or the ``machine``."""
        file = self.run.folder / "environment.txt"
        lines = file.read_text().splitlines() if file.is_file() else []
        known = (line.removeprefix(f"{fact}: ") for line in lines if line.startswith(f"{fact}: "))
        return next(known, "unknown")

    def curve(self, name: str) -> dict[int, float]:
        """Return a scalar by the number of iterations done, in order."""
        # The last evaluation comes after the last iteration and has the next one's number.
        end = max((i for i, line in self.log.items() if "time" in line), default=0) + 1
        return {min(i + 1, end): line[name] for i, line in self.log.items() if name in line}


def read_outcome(run: Run) -> Outcome | None:
    """Return the outcome of a run, or None if it is not finished."""
    if not run.finished:
        return None
    results = json.loads((run.folder / "results.json").read_text())
    metrics = {
        f"{task}/{metric}": value
        for task, of_task in results.items()
        for metric, value in of_task.items()
        if value is not None
    }
    return Outcome(run, metrics, read_log(run.folder / "metrics.json"))


def read_log(file: Path) -> dict[int, dict[str, float]]:
    """Return the lines of metrics.json; of a repeated iteration the last values count."""
    lines: dict[int, dict[str, float]] = defaultdict(dict)
    if file.is_file():
        for text in file.read_text().splitlines():
            # An interruption may have cut a line off.
            with suppress(json.JSONDecodeError):
                line = json.loads(text)
                lines[int(line["iteration"])] |= line
    return dict(sorted(lines.items()))
