"""The processes that a training is started in: signals reach them all, and they end as one."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from os import kill
from types import FrameType
from typing import Any

from torch.multiprocessing import spawn

from rock_d2.engine.ending import DataUnreadable, Ending, ProcessLost, Refused
from rock_d2.engine.signals import SIGNALS

# What a training ends with by itself.
ENDINGS = {ending.exit_code for ending in Ending.__subclasses__()} - {Refused.exit_code}
# Those of them that all processes end with.
SHARED_ENDINGS = ENDINGS - {ProcessLost.exit_code, DataUnreadable.exit_code}
# Seconds in which the others notice that one process is gone, say so and end by themselves.
FAREWELL = 20.0


class Children:
    """Runs the same work in several processes and waits for them.

    Signals to this process are passed on. If this process is killed, the others get SIGINT from
    the kernel (PyTorch's spawn arranges for it), save and end.
    """

    def __init__(self, program: str):
        """
        Args:
            program: whose name messages begin with.
        """
        self._program = program
        self._processes: list[BaseProcess] = []
        self._signal = 0

    def run(self, work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> int:
        """Calls ``work(number, *arguments)`` in new processes; returns the exit code of all."""
        handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            self._processes = spawn(work, arguments, nprocs=count, join=False).processes
            if self._signal:
                self._pass_on(self._signal, None)
            return self._exit_code(self._wait())
        finally:
            for process in self._processes:
                process.kill()
                process.join()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for process in self._processes:
            with suppress(ProcessLookupError):
                if process.exitcode is None:
                    kill(process.pid, number)

    def _wait(self) -> list[tuple[int, int]]:
        """Number and exit code of those that have ended by themselves, in this order."""
        running = {process.sentinel: i for i, process in enumerate(self._processes)}
        ended: list[tuple[int, int]] = []
        end = None
        while running:
            ready = wait(list(running), timeout=end and max(0.0, end - time.monotonic()))
            if not ready:
                break
            for number in (running.pop(sentinel) for sentinel in ready):
                self._processes[number].join()
                ended.append((number, self._processes[number].exitcode))
            # To a shared ending all processes come in their own time.
            if end is None and any(code and code not in SHARED_ENDINGS for _, code in ended):
                end = time.monotonic() + FAREWELL
        return ended

    def _exit_code(self, ended: Sequence[tuple[int, int]]) -> int:
        bad = [(number, code) for number, code in ended if code]
        if not bad:
            return 0
        # Those that miss another process end, too, and may be the first to do so.
        number, code = next((x for x in bad if x[1] != ProcessLost.exit_code), bad[0])
        if self._signal and code not in ENDINGS:
            return 128 + self._signal
        if code > 0:
            return code
        print(
            f"{self._program}: process {number} of this machine was killed by "
            f"{signal.Signals(-code).name}; --resume goes on from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        return ProcessLost.exit_code
