"""Feeds damaged inputs to the project, each in a process that may die or hang.

A case passes if the input is taken, or refused by a ValueError or an OSError of one line that
names the file or the field. Anything else is a fault.
"""

import hashlib
import multiprocessing
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fuzz.targets import Target, build_target, target_names

TAKEN, REFUSED = "taken", "refused"
FAULTS = ("raw error", "unclear error", "changed a file", "died", "hung")
# More than the longest of the odd names, which a message may repeat.
LONGEST_TEXT = 1500


@dataclass(frozen=True)
class Case:
    """One damaged input, and what came of it.

    Attributes:
        target: its kind.
        number: with the seed it gives the same input again.
        outcome: TAKEN, REFUSED or one of FAULTS.
        change: what was done to the input.
        text: the error's.
    """

    target: str
    number: int
    outcome: str
    change: str = ""
    text: str = ""


def fuzz(target: str, *, first: int, count: int, seed: int, limit: float) -> Iterator[Case]:
    """Runs cases one after another.

    Args:
        target: one of ``target_names``.
        first: number of the first case.
        count: of cases.
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
    with tempfile.TemporaryDirectory() as folder:
        target = build_target(name, Path(folder))
        kind = target_names().index(name)
        for number in numbers:
            rng = np.random.default_rng((seed, kind, number))
            sender.send(run_case(target, name, number, rng))


def run_case(target: Target, name: str, number: int, rng: np.random.Generator) -> Case:
    change = target.change(rng)
    # Augmentations draw from the global generator.
    np.random.seed(number)
    before = digests(target.folder)
    try:
        target.use()
        outcome, text = TAKEN, ""
    except Exception as error:
        outcome, text = judge(error, target.names)
    if digests(target.folder) != before:
        outcome = "changed a file"
    return Case(name, number, outcome, change, text)


def judge(error: Exception, names: tuple[str, ...]) -> tuple[str, str]:
    """Whether an error is one that users can do something with, and its text."""
    text = str(error)
    if not isinstance(error, ValueError | OSError) or isinstance(error, UnicodeError):
        return "raw error", "".join(traceback.format_exception(error))
    is_clear = len(text) <= LONGEST_TEXT and "\n" not in text.strip()
    if not is_clear or not any(name in text for name in names):
        return "unclear error", "".join(traceback.format_exception(error))
    return REFUSED, text


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def summary(cases: list[Case]) -> list[dict[str, object]]:
    """A row for each kind of input: how many cases came out how."""
    counts: dict[str, Counter] = {}
    for case in cases:
        counts.setdefault(case.target, Counter())[case.outcome] += 1
    columns = (TAKEN, REFUSED, *FAULTS)
    return [
        {"input": target, "cases": found.total(), **{name: found[name] for name in columns}}
        for target, found in counts.items()
    ]
