"""The files that finished runs have left in their folders."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from detectron2.config import CfgNode

from reproduce.plan import Run
from reproduce.settings import differences
from rock_d2.config import load_config
from rock_d2.evaluation.protocols import one_protocol
from rock_d2.evaluation.results import read_results


@dataclass
class Outcome:
    """A finished run.

    Attributes:
        run: which.
        metrics: ``<task>/<metric>``, all that the last evaluation could measure.
        log: the scalars of metrics.json by iteration.
        protocol: by which it was measured, its name; "" in files that name none.
        main: the tasks that the model is for.
        others: finished runs of the other tasks, where each is learned alone.
    """

    run: Run
    metrics: dict[str, float]
    log: dict[int, dict[str, float]]
    protocol: str = ""
    main: tuple[str, ...] = ()
    others: tuple["Outcome", ...] = ()

    def tasks(self) -> tuple[str, ...]:
        """Return the main tasks of all runs."""
        return tuple(task for run in (self, *self.others) for task in run.main)

    def costs(self) -> dict[str, float]:
        """Return the costs of the run; with others the hours of all and the most memory."""
        own = self._costs()
        others = [costs for other in self.others if (costs := other.costs())]
        if not own or not others:
            return own
        hours = sum(costs["hours"] for costs in (own, *others))
        return {"hours": hours, "memory_gb": max(c["memory_gb"] for c in (own, *others))}

    def _costs(self) -> dict[str, float]:
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


def read_outcome(*runs: Run) -> Outcome | None:
    """Return the outcome of a run, or of several that count as one; None if any is not finished.

    Raises:
        ValueError: if they were measured by different protocols.
    """
    if not all(run.finished for run in runs):
        return None
    first, *others = (_read(run) for run in runs)
    check_protocols([first, *others])
    first.protocol = common_protocol([first, *others]) or ""
    for other in others:
        first.metrics |= other.metrics
    first.others = tuple(others)
    return first


def _read(run: Run) -> Outcome:
    results = read_results(run.folder / "results.json")
    log = read_log(run.folder / "metrics.json")
    return Outcome(run, results.metrics, log, results.protocol, results.main)


def check_protocols(outcomes: Sequence[Outcome]) -> None:
    """Raise ValueError for figures that are not of one protocol."""
    if outcomes and common_protocol(outcomes) is None:
        found = {outcome.protocol: outcome.run.folder for outcome in outcomes}
        named = ", ".join(f"{folder} by {name or 'none'}" for name, folder in found.items())
        raise ValueError(f"measured by different protocols: {named}; evaluate them by one")


def common_protocol(outcomes: Sequence[Outcome]) -> str | None:
    """Return the name of the protocol of all, None if there are several."""
    tasks = ({name.partition("/")[0] for name in outcome.metrics} for outcome in outcomes)
    names = (outcome.protocol for outcome in outcomes)
    return one_protocol(list(zip(names, tasks, strict=True)))


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


def check_stored_settings(runs: Iterable[Run]) -> None:
    """Raise ValueError for a folder whose training was started with other settings."""
    for run in runs:
        file = run.folder / "config.yaml"
        if not file.is_file():
            continue
        try:
            stored = load_config(file)
        except ValueError as unknown:
            raise ValueError(f"{unknown}; choose another --output") from None
        # As it comes back from a file, where tuples within lists have become lists.
        wanted = CfgNode.load_cfg(run.config().dump())
        for name, there, here in differences(stored, wanted):
            if name == "MODEL.WEIGHTS" and run.needs:
                # In the output folder, which may have moved.
                continue
            raise ValueError(
                f"{file}: this run was started with {name} {there}, not {here}; "
                "choose another --output, or remove the folder"
            )
