"""The training loader: an endless seeded stream that is the same for any number of workers."""

import ctypes
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.build import trivial_batch_collator
from detectron2.data.common import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from rock_d2.data.dataset_mapper import RockDatasetMapper
from rock_d2.tasks import build_tasks


class SampleStream(Dataset):
    """The training set as an endless list: element ``position`` is one augmented image.

    Each pass over the records has its own order, and each position its own random numbers; both
    follow from the seed alone. So neither workers nor processes nor an interruption change what a
    position holds. (Detectron2's loader hands positions to workers in turn and seeds the workers:
    there, both batches and augmentation depend on their number.)
    """

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Callable, seed: int):
        # Serialised once: workers share the bytes instead of copying Python objects on use.
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, place = divmod(position, len(self.records))
        record = self.records[int(epoch_order(self.seed, epoch, len(self.records))[place])]
        with random_state_of(self.seed, position):
            return self.mapper(record)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


@contextmanager
def random_state_of(seed: int, position: int) -> Iterator[None]:
    """Seeds the global generators that augmentations draw from, and gives them back after."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence((seed, position)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(words[2]))
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


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


def _train_loader_from_config(cfg: CfgNode, mapper: Callable | None = None) -> dict[str, Any]:
    names = cfg.DATASETS.TRAIN
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    records = get_detection_dataset_dicts(names, filter_empty=filter_empty)
    check_config_against_data(cfg, names)
    return {
        "records": records,
        "mapper": RockDatasetMapper(cfg, is_train=True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        # As in Detectron2, a negative seed means a new one; all processes must share it.
        "seed": comm.shared_random_seed() if cfg.SEED < 0 else cfg.SEED,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_train_loader_from_config)
def build_train_loader(
    records: Sequence[dict[str, Any]],
    *,
    mapper: Callable,
    total_batch_size: int,
    seed: int,
    num_workers: int = 0,
    start_batch: int = 0,
) -> DataLoader:
    """An endless loader of lists of batch items.

    Args:
        records: dataset dicts.
        mapper: from a dataset dict to a batch item.
        total_batch_size: of all processes together.
        seed: the same seed gives the same global batches, whatever else is set.
        num_workers: loader processes of this process.
        start_batch: the batch to begin with, for training that goes on.
    """
    world_size = comm.get_world_size()
    if total_batch_size % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH = {total_batch_size} is no multiple of {world_size} processes"
        )
    batch_size = total_batch_size // world_size
    return DataLoader(
        SampleStream(records, mapper, seed),
        batch_size=batch_size,
        sampler=PositionSampler(batch_size, comm.get_rank(), world_size, start_batch),
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        worker_init_fn=keep_freed_memory,
    )


def keep_freed_memory(worker_id: int = 0) -> None:
    """Stops glibc from giving large arrays back to the system as soon as they are freed.

    Every image needs some megabytes and frees them again; touching new pages costs a mapper more
    than decoding a label. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h, bytes; 32 MB is the latter's limit.
        mallopt(-1, 1 << 28)
        mallopt(-3, 1 << 25)


def check_config_against_data(cfg: CfgNode, names: Sequence[str]) -> None:
    """Raises ValueError if a data set has other classes than the model."""
    for name in names:
        metadata = MetadataCatalog.get(name)
        if len(metadata.thing_classes) != cfg.MODEL.SSD.NUM_CLASSES:
            raise ValueError(
                f"MODEL.SSD.NUM_CLASSES is {cfg.MODEL.SSD.NUM_CLASSES}, but data set `{name}` has "
                f"{len(metadata.thing_classes)} thing_classes"
            )
        for task in build_tasks(cfg):
            task.check_metadata(metadata)


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Detectron2's test loader with the labels' file names left in each item."""
    mapper = RockDatasetMapper(cfg, is_train=False)
    return build_detection_test_loader(cfg, dataset_name, mapper=mapper)
