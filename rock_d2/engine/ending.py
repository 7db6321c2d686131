"""The ways a training ends before its last iteration, each with the process's exit code.

None is an Exception, since Detectron2's loop reports these with a traceback. The codes are those
of BSD's sysexits.h.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.utils import comm
from torch import distributed


class Ending(BaseException):
    """Ends a training; its text says why, and what to do."""

    exit_code = 0
    # Whether all processes end so, and one of them speaks for all.
    of_all = True


class Refused(Ending):
    """A setting, a file or a data set is wrong."""

    exit_code = 1
    of_all = False


class TrainingStopped(Ending):
    """As planned: the model is final."""


class Interrupted(Ending):
    """A signal asked for it; a checkpoint has been saved to go on from."""

    exit_code = 75


class NotSaved(Ending):
    """A file could not be written: disk full, quota, read-only folder."""

    exit_code = 74


class Diverged(Ending):
    """A loss or a gradient is not finite."""

    exit_code = 70


class ProcessLost(Ending):
    """A loader worker or another process of the training has died or hangs."""

    exit_code = 69
    of_all = False


class DataUnreadable(Ending):
    """An image of the training set could not be read, or too many."""

    exit_code = 65
    of_all = False


@contextmanager
def exit_with_code(program: str) -> Iterator[None]:
    """Turns the way a training ends into one line and the process's exit code."""
    try:
        yield
    except Ending as reason:
        if comm.is_main_process() if reason.of_all else is_first_to_say(str(reason)):
            process = f"process {comm.get_rank()}: " if comm.get_world_size() > 1 else ""
            print(f"{program}: {process}{reason}", file=sys.stderr, flush=True)
        sys.exit(reason.exit_code)


def is_first_to_say(text: str) -> bool:
    """Whether no other process has said it; one whose store is gone says it in any case."""
    if comm.get_world_size() == 1:
        return True
    try:
        return default_store().add(f"said {text}", 1) == 1
    except RuntimeError:
        return True


def default_store() -> distributed.Store:
    """Answers without the other processes; PyTorch has no public name for it."""
    return distributed.distributed_c10d._get_default_store()
