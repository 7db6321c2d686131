"""The batches of a training, and its images that cannot be read."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rock_d2.data.loader import SKIPPED

logger = logging.getLogger(__name__)


class BatchReader:
    """Takes batches from a loader and counts the images that others have replaced."""

    def __init__(self, loader: Iterable[Any], max_skipped: int = 0):
        """
        Args:
            loader: of this process's share of each batch.
            max_skipped: images of all processes that may be unreadable.
        """
        self.loader = loader
        self.max_skipped = max_skipped
        # The reason for each image, by its file.
        self.skipped: dict[str, str] = {}
        self._batches: Iterator[Any] | None = None

    def next(self) -> Any:
        # Only now, since a resumed training begins with another batch.
        if self._batches is None:
            self._batches = iter(self.loader)
        batch = next(self._batches)
        self.add({k: v for item in batch for k, v in item.pop(SKIPPED, {}).items()})
        return batch

    def add(self, skipped: Mapping[str, str]) -> None:
        """Add images that were skipped here or in other processes.

        Raises:
            OSError: if they are more than ``max_skipped`` by now.
        """
        for reason in (skipped[file] for file in skipped if file not in self.skipped):
            logger.warning(f"An image cannot be read and is replaced by another: {reason}")
        self.skipped |= skipped
        if len(self.skipped) > self.max_skipped:
            raise OSError(
                f"{len(self.skipped)} images cannot be read, and DATALOADER.MAX_UNREADABLE is "
                f"{self.max_skipped}; the last: {list(self.skipped.values())[-1]}"
            )
