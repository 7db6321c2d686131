"""Signals that ask for the end of a training: it saves after its iteration, in all processes."""

import signal
import threading
import time
from types import FrameType

from detectron2.utils import comm

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# The exit code of a training that has saved a checkpoint to resume from (BSD's EX_TEMPFAIL).
INTERRUPTED = 75
# Seconds in which a further signal is the same one: terminals and schedulers send it to all
# processes, and launchers pass it on to those that have it already.
ECHO = 1.0


class StopSignals:
    """Notes that a signal asks for the end; a second one ends the process at once."""

    def __init__(self) -> None:
        self._noted = 0
        self._when = 0.0
        self._handlers = {}

    def install(self) -> None:
        # Python handles signals in its main thread only; nohup ignores SIGHUP.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._noted:
            self._noted, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > ECHO:
            raise KeyboardInterrupt

    def agreed(self) -> int:
        """Return the signal that any process has received, the same in all; 0 for none."""
        return max(comm.all_gather(self._noted))
