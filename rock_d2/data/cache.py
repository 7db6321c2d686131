"""The training set decoded once and kept in memory (DATALOADER.RESIDENT)."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from rock_d2.data.mapper import Decoded, RockDatasetMapper
from rock_d2.data.memory import check_that_it_fits
from rock_d2.data.reading import READ_ERRORS, read_patiently
from rock_d2.data.stream import SampleStream
from rock_d2.tasks.geometry import LabelMap

logger = logging.getLogger(__name__)


class ResidentStream(SampleStream):
    """A SampleStream that reads no file any more: the same batches to the last bit.

    Images and labels are kept as their files hold them, which takes 8 bytes a pixel with all
    labels. Loader workers that are forked share them.
    """

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        mapper: RockDatasetMapper,
        seed: int,
        *,
        retries: int = 0,
        max_unreadable: int = 0,
    ):
        super().__init__(records, mapper, seed, max_unreadable=max_unreadable)
        check_that_it_fits(records, mapper.tasks)
        start = time.perf_counter()
        read = partial(decode_patiently, mapper, retries=retries)
        # Threads, since OpenCV decodes without holding Python back.
        with ThreadPoolExecutor() as pool:
            self.decoded = list(pool.map(read, self.records))
        size = sum(array.nbytes for content in self.decoded for array in arrays_of(content))
        seconds = time.perf_counter() - start
        logger.info(f"{len(self.decoded)} images decoded in {seconds:.1f} s: {size / 1e9:.2f} GB")

    def map(self, index: int, record: dict[str, Any]) -> dict[str, Any]:
        content = self.decoded[index]
        if isinstance(content, Exception):
            # Without the traceback, which would grow with every time.
            raise content.with_traceback(None)
        return self.mapper.augment(record, content)


def decode_patiently(
    mapper: RockDatasetMapper, record: dict[str, Any], *, retries: int
) -> Decoded | Exception:
    """A record's content, which nobody can write to, or why it cannot be read."""
    try:
        content = read_patiently(mapper.decode, record, retries=retries)
    except READ_ERRORS as problem:
        return problem
    for array in arrays_of(content):
        array.flags.writeable = False
    return content


def arrays_of(content: Decoded | Exception) -> Iterator[np.ndarray]:
    """The arrays that hold a decoded image and its maps."""
    if isinstance(content, Exception):
        return
    yield content.image
    for label in content.labels.values():
        if isinstance(label, LabelMap):
            yield label.pixels
