"""Runs the processes of a plan, some side by side, and tells how it goes."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from reproduce.plan import Run

# What a run prints; it also writes its own log.txt.
CONSOLE = "console.txt"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 60


@dataclass
class Runner:
    """Brings runs to their end.

    Attributes:
        train_net: the script tools/train_net.py.
        jobs: processes side by side.
        tell: is called with each line about the progress.
        failed: what went wrong, by run.
    """

    train_net: Path
    jobs: int = 1
    tell: Callable[[str], None] = print
    failed: dict[Run, str] = field(default_factory=dict)

    def run(self, runs: Sequence[Run]) -> None:
        """Runs what is not finished; a failed run is noted and the others go on.

        Args:
            runs: trainings first, then the evaluations of what they have trained.
        """
        waiting = [run for run in runs if not run.finished]
        self.tell(
            f"{len(runs)} runs: {len(runs) - len(waiting)} finished before, {len(waiting)} to do, "
            f"{self.jobs} at a time"
        )
        progress = _Progress(total=len(runs), left=len(waiting), jobs=self.jobs)
        with self._processes() as running:
            while waiting or running:
                for run in list(waiting):
                    if len(running) == self.jobs:
                        break
                    if self._may_start(run, waiting, running):
                        waiting.remove(run)
                        running[run] = (self._start(run), time.monotonic())
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for run, (process, start) in list(running.items()):
                    if process.poll() is not None:
                        del running[run]
                        self._note(run, process.returncode)
                        outcome = self.failed.get(run, "finished")
                        self.tell(progress.line(run, time.monotonic() - start, outcome))

    def _may_start(self, run: Run, waiting: Sequence[Run], running: dict) -> bool:
        return run.trained is None or not (run.trained in waiting or run.trained in running)

    def _start(self, run: Run) -> subprocess.Popen:
        run.folder.mkdir(parents=True, exist_ok=True)
        threads = max(1, num_cores() // self.jobs)
        with (run.folder / CONSOLE).open("a") as console:
            return subprocess.Popen(
                [sys.executable, *command(run, self.train_net)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Threads that wait busily take the cores from the other jobs' threads.
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
            )

    def _note(self, run: Run, code: int) -> None:
        if code == 0 and run.finished:
            # They were there in case of an interruption; model_final.pth stays.
            for file in run.folder.glob("model_[0-9]*.pth"):
                file.unlink()
        else:
            self.failed[run] = f"failed with exit status {code}: {last_line(run.folder / CONSOLE)}"

    @contextmanager
    def _processes(self) -> Iterator[dict[Run, tuple[subprocess.Popen, float]]]:
        """The running processes; whatever ends this one ends them, and they can go on later."""
        running: dict[Run, tuple[subprocess.Popen, float]] = {}
        try:
            yield running
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                try:
                    process.wait(timeout=SECONDS_TO_STOP)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class _Progress:
    """One line a run, with the time that is left by the mean of the runs so far."""

    def __init__(self, *, total: int, left: int, jobs: int):
        self._total = total
        self._left = left
        self._jobs = jobs
        self._seconds: list[float] = []

    def line(self, run: Run, seconds: float, outcome: str) -> str:
        self._left -= 1
        self._seconds.append(seconds)
        eta = sum(self._seconds) / len(self._seconds) * self._left / self._jobs
        number = self._total - self._left
        return (
            f"[{number}/{self._total}] {run.name} seed {run.seed}: {outcome} after "
            f"{duration(seconds)}; eta {duration(eta)}"
        )


def duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def command(run: Run, train_net: Path) -> list[str]:
    """The arguments of Python for a run."""
    options, pairs = run.arguments()
    return [str(train_net), *options, *pairs]


def command_line(run: Run, train_net: Path) -> str:
    """The same for a shell, with paths as seen from the working folder."""
    return shlex.join(["python", *map(_relative, command(run, train_net))])


def _relative(word: str) -> str:
    here = str(Path.cwd()) + os.sep
    return word.removeprefix(here)


def num_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def last_line(file: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "its log is empty")
