"""Reading images of a training set that may be unreadable, for a while or for good."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2

# Of a batch item: for each file that could not be read in its place, the reason.
SKIPPED = "skipped"
# What mappers raise for a file that is missing, cut short or no image.
READ_ERRORS = (OSError, ValueError, cv2.error)
# Seconds before the first further attempt; twice as many before each next one.
FIRST_PAUSE = 0.5


class UnreadableError(Exception):
    """An image could not be read; its text names the file."""

    def __init__(self, text: str):
        # A loader worker's error comes with its traceback before it.
        super().__init__(text.strip().rpartition(f"{type(self).__name__}: ")[2])


def read_patiently(
    mapper: Callable[[Mapping[str, Any]], Any], record: Mapping[str, Any], *, retries: int
) -> Any:
    """What the mapper makes of the record; network file systems get a second chance."""
    for attempt in range(retries):
        try:
            return mapper(record)
        except READ_ERRORS:
            time.sleep(FIRST_PAUSE * 2**attempt)
    return mapper(record)
