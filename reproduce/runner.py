"""Runs the processes of a plan, some side by side."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from reproduce.plan import Run

# The file that a run's output goes to; the run also writes its own log.txt.
CONSOLE = "console.txt"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 60


@dataclass
class Runner:
    """Brings runs to their end.

    Attributes:
        train_net: the script tools/train_net.py.
        jobs: processes side by side.
        report: is called with each line about the progress.
        failed: the reasons, by run.
    """

    train_net: Path
    jobs: int = 1
    report: Callable[[str], None] = print
    failed: dict[Run, str] = field(default_factory=dict)

    def run(self, runs: Sequence[Run]) -> None:
        """Run all that is not finished; failures are noted and do not stop the others."""
        waiting = [run for run in runs if not run.finished]
        self.report(f"{len(runs)} runs, {len(waiting)} of them to do, {self.jobs} at a time")
        self._run_side_by_side([run for run in waiting if run.needs is None])
        others = [run for run in waiting if run.needs is not None]
        for run in others:
            if not run.needs.finished:
                self.failed[run] = f"not started, since {run.needs.folder} is not finished"
        self._run_side_by_side([run for run in others if run not in self.failed])

    def _run_side_by_side(self, waiting: list[Run]) -> None:
        running: dict[Run, tuple[subprocess.Popen, float]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    run = waiting.pop(0)
                    running[run] = self._start(run), time.monotonic()
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for run, (process, start) in list(running.items()):
                    if process.poll() is not None:
                        del running[run]
                        seconds = round(time.monotonic() - start)
                        self._note(run, process.returncode, timedelta(seconds=seconds))
        finally:
            stop([process for process, _ in running.values()])

    def _start(self, run: Run) -> subprocess.Popen:
        run.folder.mkdir(parents=True, exist_ok=True)
        threads = max(1, len(os.sched_getaffinity(0)) // self.jobs)
        with (run.folder / CONSOLE).open("a") as console:
            return subprocess.Popen(
                [sys.executable, *command(run, self.train_net)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Threads that wait busily take the cores from the other jobs' threads.
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
            )

    def _note(self, run: Run, code: int, duration: timedelta) -> None:
        if code == 0 and run.finished:
            # They were there in case of an interruption; model_final.pth stays.
            for file in run.folder.glob("model_[0-9]*.pth"):
                file.unlink()
        else:
            *_, last = (run.folder / CONSOLE).read_text(errors="replace").strip().split("\n")
            self.failed[run] = f"failed with exit status {code}: {last}"
        outcome = self.failed.get(run, "finished")
        self.report(f"{run.name} seed {run.seed}: {outcome} after {duration}")


def stop(processes: Iterable[subprocess.Popen]) -> None:
    """End processes; trainings save first, so that they can be resumed."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def command(run: Run, train_net: Path) -> list[str]:
    """Return the arguments of Python for a run."""
    options, pairs = run.arguments()
    return [str(train_net), *options, *pairs]


def command_line(run: Run, train_net: Path) -> str:
    """Return the same for a shell, with paths as seen from the working folder."""
    here = str(Path.cwd()) + os.sep
    return shlex.join(["python", *(word.removeprefix(here) for word in command(run, train_net))])
