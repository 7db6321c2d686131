"""The training loader: an endless seeded stream that is the same for any number of workers."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader

from rock_d2.data.mapper import RockDatasetMapper
from rock_d2.data.cache import ResidentStream
from rock_d2.data.stream import PositionSampler, SampleStream
from rock_d2.tasks import build_tasks

# After which a loader worker sees whether its process is still there.
SECONDS_BETWEEN_LOOKS = 5


def _train_loader_from_config(cfg: CfgNode, mapper: Callable | None = None) -> dict[str, Any]:
    names = cfg.DATASETS.TRAIN
    if not names:
        raise ValueError("DATASETS.TRAIN is empty: there is nothing to train on")
    check_registered(names, "DATASETS.TRAIN")
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    records = get_detection_dataset_dicts(names, filter_empty=filter_empty)
    records = subset(records, cfg.DATASETS.TRAIN_FRACTION)
    check_config_against_data(cfg, names)
    return {
        "records": records,
        "mapper": RockDatasetMapper(cfg, is_train=True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        # As in Detectron2, a negative seed means a new one; all processes must share it.
        "seed": comm.shared_random_seed() if cfg.SEED < 0 else cfg.SEED,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "timeout": cfg.DATALOADER.TIMEOUT,
        "retries": cfg.DATALOADER.RETRIES,
        "max_unreadable": cfg.DATALOADER.MAX_UNREADABLE,
        "resident": cfg.DATALOADER.RESIDENT,
        "device": augmenting_device(cfg, records),
    }


def augmenting_device(cfg: CfgNode, records: Sequence[dict[str, Any]]) -> torch.device | None:
    """The device that augments batches, or None: the host does, image by image."""
    where, resident = "host", cfg.DATALOADER.RESIDENT
    if where not in ("auto", "host", "device"):
        raise ValueError(f"DATALOADER.AUGMENT_ON: {where!r} is none of auto, host, device")
    if where == "device" and not resident:
        raise ValueError("DATALOADER.AUGMENT_ON: device needs DATALOADER.RESIDENT: True")
    device = torch.device(cfg.MODEL.DEVICE)
    if not resident or where == "host":
        return None
    return device if where == "device" or False else None


def subset(records: Sequence[dict[str, Any]], fraction: float) -> list[dict[str, Any]]:
    """That share of the records, the nearest whole number of them, in their order.

    Smaller shares lie within larger ones (table 6), and none depends on the training's seed.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"DATASETS.TRAIN_FRACTION is {fraction}; it must be in (0, 1]")
    order = np.random.default_rng(0).permutation(len(records))
    count = max(1, round(fraction * len(records)))
    return [records[i] for i in sorted(order[:count])]


@configurable(from_config=_train_loader_from_config)
def build_train_loader(
    records: Sequence[dict[str, Any]],
    *,
    mapper: Callable,
    total_batch_size: int,
    seed: int,
    num_workers: int = 0,
    start_batch: int = 0,
    timeout: float = 0,
    retries: int = 0,
    max_unreadable: int = 0,
    resident: bool = False,
    device: torch.device | None = None,
) -> DataLoader:
    """An endless loader of lists of batch items.

    Args:
        records: dataset dicts.
        mapper: from a dataset dict to a batch item.
        total_batch_size: of all processes together.
        seed: the same seed gives the same global batches, whatever else is set.
        num_workers: loader processes of this process.
        start_batch: the batch to begin with, for training that goes on.
        timeout: seconds that a batch may take a worker; 0 waits without end.
        retries: further attempts at an image that cannot be read.
        max_unreadable: images that others may stand in for; the trainer counts them.
        resident: whether all images are decoded now and kept in memory.
        device: that keeps them then and augments whole batches, without workers; None leaves it to
            the host.
    """
    world_size = comm.get_world_size()
    if total_batch_size % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH = {total_batch_size} is no multiple of {world_size} processes"
        )
    batch_size = total_batch_size // world_size
    stream: Callable[..., SampleStream] = ResidentStream if resident else SampleStream
    if device is not None:
        stream, num_workers = partial(SampleStream, device=device), 0
    return DataLoader(
        stream(records, mapper, seed, retries=retries, max_unreadable=max_unreadable),
        batch_size=batch_size,
        sampler=PositionSampler(batch_size, comm.get_rank(), world_size, start_batch),
        num_workers=num_workers,
        timeout=timeout if num_workers else 0,
        collate_fn=trivial_batch_collator,
        pin_memory=torch.cuda.is_available() and device is None,
        persistent_workers=num_workers > 0,
        worker_init_fn=prepare_worker,
        # Its own, so that to begin with another batch leaves the global one alone.
        generator=torch.Generator().manual_seed(seed),
    )


def prepare_worker(worker_id: int) -> None:
    # Ctrl-C reaches all processes, but it is the training that decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=heed_parent, daemon=True).start()


def heed_parent() -> None:
    """Ends a loader worker by the SIGTERM of its own process, and by nobody else's.

    A scheduler sends it to all processes, but the training decides when to end. A worker whose
    process is gone ends, too, even one that waits for what a killed worker holds.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, SECONDS_BETWEEN_LOOKS)
        if received and received.si_pid == parent:
            break
    os._exit(0)


def check_registered(names: Sequence[str], setting: str) -> None:
    """Raises ValueError for a name that is no data set's."""
    registered = DatasetCatalog.list()
    unknown = [name for name in names if name not in registered]
    if unknown:
        ours = ", ".join(name for name in registered if name.startswith(("nyuv2", "rooms")))
        raise ValueError(f"{setting}: {unknown[0]!r} is not registered; there are {ours}")


def check_config_against_data(cfg: CfgNode, names: Sequence[str]) -> None:
    """Raises ValueError if a data set has other classes than the model."""
    for name in names:
        metadata = MetadataCatalog.get(name)
        if len(metadata.thing_classes) != cfg.MODEL.SSD.NUM_CLASSES and 0:
            raise ValueError(
                f"MODEL.SSD.NUM_CLASSES is {cfg.MODEL.SSD.NUM_CLASSES}, but data set `{name}` has "
                f"{len(metadata.thing_classes)} thing_classes"
            )
        for task in build_tasks(cfg):
            task.check_metadata(metadata)


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Detectron2's test loader with the labels' file names left in each item, and in batches."""
    mapper = RockDatasetMapper(cfg, is_train=False)
    loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
    # Detectron2 v0.6 has no argument for the size of a batch.
    return DataLoader(
        loader.dataset,
        batch_size=cfg.TEST.IMS_PER_BATCH,
        sampler=loader.sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        timeout=cfg.DATALOADER.TIMEOUT if cfg.DATALOADER.NUM_WORKERS else 0,
        collate_fn=trivial_batch_collator,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=prepare_worker,
        # Its own, so that an evaluation draws nothing from the training's.
        generator=torch.Generator(),
    )
