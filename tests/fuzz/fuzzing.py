"""Feeds damaged inputs to the project, in processes that may die or hang.

A case passes if the input is taken, or refused by a ValueError or an OSError of one line that
names the file or the field. Anything else is a fault.
"""

import logging
import multiprocessing
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fuzz.data_targets import Images, Json, LabelFiles
from fuzz.model_targets import Checkpoints, Configs, Settings
from fuzz.target import Target, map_tasks

# What is fuzzed; label files go by the names of their tasks.
TARGETS: dict[str, Callable[[Path], Target]] = {
    "json": Json,
    "images": Images,
    "configs": Configs,
    "checkpoints": Checkpoints,
    "settings": Settings,
    **{task.name: partial(LabelFiles, task=task) for task in map_tasks()},
}

TAKEN, REFUSED = "taken", "refused"
FAULTS = ("raw error", "unclear error", "died", "hung")
# More than the longest of the odd names, which a message may repeat.
LONGEST_TEXT = 1500


@dataclass(frozen=True)
class Case:
    """One damaged input and its outcome.

    Attributes:
        target: its kind.
        number: with the seed it gives the same input again.
        outcome: TAKEN, REFUSED or one of FAULTS.
        change, text: the damage and the error.
    """

    target: str
    number: int
    outcome: str
    change: str = ""
    text: str = ""


def fuzz(target: str, *, first: int, count: int, seed: int, limit: float) -> Iterator[Case]:
    """Run cases one after another.

    Args:
        target: one of ``TARGETS``.
        first, count: the first case's number, and how many follow.
        seed: of all of them.
        limit: seconds that each may take.
    """
    context = multiprocessing.get_context("fork")
    number, last = first, first + count
    while number < last:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(target, range(number, last), seed, sender))
        process.start()
        sender.close()
        try:
            # Building the target comes first, and is given time of its own.
            waiting = 60 + limit
            while number < last and receiver.poll(waiting):
                yield receiver.recv()
                number, waiting = number + 1, limit
            if number < last:
                yield Case(target, number, "hung", text=f"after {limit} s")
                number += 1
        except EOFError:
            process.join()
            yield Case(target, number, "died", text=f"exit code {process.exitcode}")
            number += 1
        finally:
            process.kill()
            process.join()
            receiver.close()


def _run(name: str, numbers: range, seed: int, sender: Connection) -> None:
    # Trainings log a lot.
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        for number in numbers:
            sender.send(run_case(target, name, number, seed))


def run_case(target: Target, name: str, number: int, seed: int) -> Case:
    rng = np.random.default_rng((seed, list(TARGETS).index(name), number))
    change = target.change(rng)
    # Augmentations draw from the global generator.
    np.random.seed(number)
    try:
        target.use()
        outcome, text = TAKEN, ""
    except Exception as error:
        outcome, text = judge(error, target.names)
    return Case(name, number, outcome, change, text)


def judge(error: Exception, names: tuple[str, ...]) -> tuple[str, str]:
    """Return whether an error is one that users can do something with, and its text."""
    text = str(error)
    if not isinstance(error, ValueError | OSError) or isinstance(error, UnicodeError):
        return "raw error", "".join(traceback.format_exception(error))
    is_clear = len(text) <= LONGEST_TEXT and "\n" not in text.strip()
    if not is_clear or not any(name in text for name in names):
        return "unclear error", "".join(traceback.format_exception(error))
    return REFUSED, text


def summary(cases: list[Case]) -> list[dict[str, object]]:
    """Return a row for each kind of input: how many cases had which outcome."""
    counts: dict[str, Counter] = {}
    for case in cases:
        counts.setdefault(case.target, Counter())[case.outcome] += 1
    columns = (TAKEN, REFUSED, *FAULTS)
    return [
        {"input": target, "cases": found.total(), **{name: found[name] for name in columns}}
        for target, found in counts.items()
    ]
