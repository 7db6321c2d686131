"""Reading the images of a data set: each time, or once (DATALOADER.RESIDENT)."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from detectron2.data.common import DatasetFromList

from rock_d2.data.workers import UnreadableError

logger = logging.getLogger(__name__)


class RecordReader:
    """Maps the dataset dict of an index."""

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Callable):
        # Serialised once: workers share the bytes instead of copying Python objects on use.
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        with unreadable(record):
            return self.mapper(record)


class ResidentReader(RecordReader):
    """A RecordReader that decodes every file at the start and none later; the items are the same.

    Images and labels are kept as their files hold them. Forked loader workers share them.
    """

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Callable):
        super().__init__(records, mapper)
        start = time.perf_counter()
        # Threads, since Pillow decodes without holding Python back.
        with ThreadPoolExecutor() as pool:
            self.decoded = list(pool.map(self._decode, range(len(self))))
        logger.info(f"{len(self)} images decoded in {time.perf_counter() - start:.1f} s")

    def _decode(self, index: int) -> Any:
        record = self.records[index]
        with unreadable(record):
            return self.mapper.decode(record)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        with unreadable(record):
            return self.mapper.augment(record, self.decoded[index])


@contextmanager
def unreadable(record: Mapping[str, Any]) -> Iterator[None]:
    """Name the image of which a file cannot be read."""
    try:
        yield
    except (OSError, ValueError) as problem:
        name = str(record.get("file_name", record.get("image_id")))
        text = str(problem)
        raise UnreadableError(text if name in text else f"{name}: {text}") from None
