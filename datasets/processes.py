"""Work that is split over processes, each with one thread."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

import cv2


def map_over(work: Callable, items: Sequence, jobs: int, *, chunksize: int = 1) -> Iterator[Any]:
    """Yield ``work(item)`` of all items in their order, computed by ``jobs`` processes.

    Args:
        work: a function that can be pickled.
        items: its arguments.
        jobs: 1 takes this process.
        chunksize: neighbouring items that one process takes together.

    Raises:
        OSError: a process was killed.
    """
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: must be >= 1")
    if jobs == 1:
        cv2.setNumThreads(0)
        yield from map(work, items)
        return
    try:
        with ProcessPoolExecutor(jobs, initializer=_start_worker) as pool:
            yield from pool.map(work, items, chunksize=chunksize)
    except BrokenProcessPool as error:
        raise OSError(
            "a worker process was killed, probably for want of memory: run again with fewer --jobs"
        ) from error


def _start_worker() -> None:
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent is killed; a worker would otherwise wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
