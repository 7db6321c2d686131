"""Loader workers and processes that have died or hang: told apart from other errors, and named."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.utils import comm

from rock_d2.engine.ending import ProcessLost, default_store

# Seconds in which the processes that still run tell each other so.
ROLL_CALL = 5.0


@contextmanager
def naming_the_lost() -> Iterator[None]:
    """Raises ProcessLost in place of what PyTorch raises when a worker or a process is gone."""
    try:
        yield
    except RuntimeError as problem:
        raise_if_lost(" ".join(str(problem).split()))
        raise


def raise_if_lost(text: str) -> None:
    """Raises ProcessLost for what PyTorch says when a loader worker or another process is gone."""
    if text.startswith("DataLoader"):
        raise ProcessLost(f"a loader worker is lost: {text}") from None
    if comm.get_world_size() > 1 and ("gloo" in text or "NCCL" in text or "Timed out" in text):
        absent = absent_processes()
        names = f"process {', '.join(map(str, absent))}" if absent else "another process"
        raise ProcessLost(f"{names} died or hangs: {text}") from None


def absent_processes() -> list[int]:
    """Those that do not answer; all others must call this at about the same time."""
    store = default_store()
    store.set(f"answer of {comm.get_rank()}", "here")
    time.sleep(ROLL_CALL)
    ranks = range(comm.get_world_size())
    return [rank for rank in ranks if not store.check([f"answer of {rank}"])]
