"""Reading the images of a data set: each time, or once (DATALOADER.RESIDENT)."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from detectron2.data.common import DatasetFromList

from rock_d2.data.mapper import Decoded
from rock_d2.data.workers import UnreadableError

logger = logging.getLogger(__name__)

# Seconds before the first further attempt at a file; twice as many before each next one.
FIRST_PAUSE = 0.5


class RecordReader:
    """Maps the dataset dict of an index; network file systems get a second chance."""

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Callable, *, retries: int = 0):
        """
        Args:
            records: dataset dicts.
            mapper: from a dataset dict to a batch item.
            retries: further attempts at files that cannot be read.
        """
        if retries < 0:
            raise ValueError(f"DATALOADER.RETRIES is {retries}; it must be 0 or more")
        # Serialised once: workers share the bytes instead of copying Python objects on use.
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.retries = retries

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.patiently(self.mapper, self.records[index])

    def patiently(self, read: Callable, record: Mapping[str, Any]) -> Any:
        """Return ``read(record)``, or raise UnreadableError."""
        for attempt in range(self.retries + 1):
            try:
                return read(record)
            except (OSError, ValueError) as problem:
                reason = str(problem)
            if attempt < self.retries:
                time.sleep(FIRST_PAUSE * 2**attempt)
        name = name_of(record)
        raise UnreadableError(reason if name in reason else f"{name}: {reason}")


class ResidentReader(RecordReader):
    """A RecordReader that decodes every file at the start and none later; the items are the same.

    Images and labels are kept as their files hold them. Forked loader workers share them.
    """

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Callable, *, retries: int = 0):
        super().__init__(records, mapper, retries=retries)
        start = time.perf_counter()
        # Threads, since Pillow decodes without holding Python back.
        with ThreadPoolExecutor() as pool:
            self.decoded = list(pool.map(self._decode, range(len(self))))
        logger.info(f"{len(self)} images decoded in {time.perf_counter() - start:.1f} s")

    def _decode(self, index: int) -> Decoded | str:
        """Return the content of an image's files, or why they cannot be read."""
        try:
            return self.patiently(self.mapper.decode, self.records[index])
        except UnreadableError as problem:
            return str(problem)

    def __getitem__(self, index: int) -> dict[str, Any]:
        decoded = self.decoded[index]
        if isinstance(decoded, str):
            raise UnreadableError(decoded)
        return self.patiently(partial(self.mapper.augment, decoded=decoded), self.records[index])


def name_of(record: Mapping[str, Any]) -> str:
    return str(record.get("file_name", record.get("image_id")))
