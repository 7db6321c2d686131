"""An endless seeded stream of augmented images that is the same for any number of workers."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from detectron2.data.common import DatasetFromList
from torch.utils.data import Dataset, Sampler

from rock_d2.data.reading import READ_ERRORS, SKIPPED, UnreadableError, read_patiently


class SampleStream(Dataset):
    """The training set as an endless list: element ``position`` is one augmented image.

    Each pass over the records has its own order, and each position its own random numbers; both
    follow from the seed alone. So neither workers nor processes nor an interruption change what a
    position holds. (Detectron2's loader hands positions to workers in turn and seeds the workers:
    there, both batches and augmentation depend on their number.)
    """

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        mapper: Callable,
        seed: int,
        *,
        retries: int = 0,
        max_unreadable: int = 0,
    ):
        # Serialised once: workers share the bytes instead of copying Python objects on use.
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.seed = seed
        self.retries = retries
        self.max_unreadable = max_unreadable

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, place = divmod(position, len(self.records))
        index = int(epoch_order(self.seed, epoch, len(self.records))[place])
        skipped: dict[str, str] = {}
        for i in chain([index], self._stand_ins(index, position)):
            record = self.records[i]
            try:
                with random_state_of(self.seed, position):
                    item = self.map(i, record)
            except READ_ERRORS as problem:
                name = record.get("file_name", str(record.get("image_id")))
                skipped[name] = f"{name}: {problem}" if name not in str(problem) else str(problem)
            else:
                return {**item, SKIPPED: skipped} if skipped else item
        raise UnreadableError("; ".join(skipped.values()))

    def _stand_ins(self, index: int, position: int) -> Iterator[int]:
        """Others for an image that cannot be read, the same ones whenever it is wanted."""
        rng, num_others = np.random.default_rng((self.seed, position)), len(self.records) - 1
        count = min(self.max_unreadable, num_others)
        chosen = rng.choice(num_others, size=count, replace=False)
        yield from (chosen + (chosen >= index)).tolist()

    def map(self, index: int, record: dict[str, Any]) -> dict[str, Any]:
        """The batch item of a record, which is number ``index``."""
        return read_patiently(self.mapper, record, retries=self.retries)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


@contextmanager
def random_state_of(seed: int, position: int) -> Iterator[None]:
    """Seeds the global generators that augmentations draw from, and gives them back after."""
    # Not torch.manual_seed, which seeds GPUs as well.
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    words = np.random.SeedSequence((seed, position)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)


class PositionSampler(Sampler[int]):
    """The positions of one process: its share of batch 0, of batch 1, and so on without end."""

    def __init__(self, batch_size: int, rank: int, world_size: int, start_batch: int = 0):
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[int]:
        batch = self.start_batch * self.world_size + self.rank
        while True:
            yield from range(batch * self.batch_size, (batch + 1) * self.batch_size)
            batch += self.world_size
