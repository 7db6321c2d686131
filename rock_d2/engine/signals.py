"""SIGTERM and SIGINT: the training ends after an iteration, the same in all processes."""

import os
import signal
import threading
import time
from datetime import timedelta
from types import FrameType

import torch
from detectron2.utils import comm
from torch import distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds in which a further signal is the same one: terminals and schedulers send it to all
# processes, and launchers pass it on to those that have it already.
ECHO = 1.0


class StopSignals:
    """Notes that a signal asks for the end; a second one ends the process at once.

    What any process has noted when an iteration begins is known to all when it ends: the exchange
    runs meanwhile, between the CPUs, and no GPU waits for it.
    """

    def __init__(self, timeout: float):
        """
        Args:
            timeout: seconds that processes wait for each other.
        """
        self._patience = timedelta(seconds=timeout)
        self._noted = 0
        self._when = 0.0
        self._handlers = {}
        self._group = None
        self._exchange = None
        self._highest = torch.zeros((), dtype=torch.int64)

    def install(self) -> None:
        if comm.get_world_size() > 1:
            self._group = distributed.new_group(backend="gloo", timeout=self._patience)
        # Elsewhere Python cannot, and a program around this one has its own ways.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._noted:
            self._noted, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > ECHO:
            os._exit(128 + number)

    def begin_exchange(self) -> None:
        if self._group is not None:
            self._highest = torch.tensor(self._noted)
            operation = distributed.ReduceOp.MAX
            self._exchange = distributed.all_reduce(
                self._highest, op=operation, group=self._group, async_op=True
            )

    def agreed(self) -> int:
        """The signal that all processes obey now; 0 for none."""
        if self._group is None:
            return self._noted
        self._exchange.wait()
        return int(self._highest)
