"""The batches of a training: when they begin, and images that could not be read."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from detectron2.utils import comm

from rock_d2.data.reading import SKIPPED, UnreadableError
from rock_d2.engine.ending import DataUnreadable
from rock_d2.engine.lost import naming_the_lost

logger = logging.getLogger(__name__)


class BatchReader:
    """Takes batches from a loader and counts the images for which others had to stand in."""

    def __init__(self, loader: Iterable[Any], max_skipped: int = 0):
        """
        Args:
            loader: of this process's share of each batch.
            max_skipped: images of all processes that may be unreadable.
        """
        self.loader = loader
        self.max_skipped = max_skipped
        # Why each file was skipped, by its name.
        self.skipped: dict[str, str] = {}
        self._batches: Iterator[Any] | None = None

    def next(self) -> Any:
        # Only now, since a resumed training begins with another batch.
        if self._batches is None:
            self._batches = iter(self.loader)
        try:
            with naming_the_lost():
                batch = next(self._batches)
        except UnreadableError as problem:
            raise DataUnreadable(str(problem)) from None
        for item in batch:
            for file, reason in item.pop(SKIPPED, {}).items():
                if file not in self.skipped:
                    logger.warning(f"process {comm.get_rank()} skips an image: {reason}")
                self.skipped[file] = reason
        self._check()
        return batch

    def share(self, others: Iterable[dict[str, str]]) -> None:
        """Adds what other processes have skipped; all must do so together."""
        for skipped in others:
            self.skipped |= skipped
        self._check()

    def _check(self) -> None:
        if len(self.skipped) > self.max_skipped:
            reasons = list(self.skipped.values())
            raise DataUnreadable(
                f"{len(reasons)} images could not be read, and DATALOADER.MAX_UNREADABLE is "
                f"{self.max_skipped}; the last: {reasons[-1]}"
            )

    def report(self) -> None:
        if self.skipped:
            listed = "\n".join(f"  {reason}" for reason in self.skipped.values())
            logger.warning(
                f"{len(self.skipped)} images could not be read, others stood in:\n{listed}"
            )
