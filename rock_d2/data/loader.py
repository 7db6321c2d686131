"""The loaders: an endless seeded stream for training, Detectron2's order for evaluation."""

import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler

from rock_d2.classes import (
    ALL,
    class_names,
    first_set,
    has_ignored_classes,
    of_each_set,
    thing_classes,
)
from rock_d2.data.cache import RecordReader, ResidentReader
from rock_d2.data.mapper import RockDatasetMapper
from rock_d2.data.records import forget_boxes, set_dicts, subset, training_dicts
from rock_d2.data.workers import ListLoader
from rock_d2.tasks import build_tasks

logger = logging.getLogger(__name__)


class SampleStream(Dataset):
    """The training set as an endless list: element ``position`` is one augmented image.

    Each pass over the images has its own order, and each position its own random numbers; both
    follow from the seed alone. So neither workers nor processes nor an interruption change the
    content of a position. (Detectron2's loader hands positions to workers in turn and seeds the
    workers: there, both batches and augmentation depend on their number.)

    A pass has an image as many times as its ``repeat`` says. With a ``boxed_share``, images with
    known boxes and others have passes of their own, and take turns in a fixed pattern.
    """

    def __init__(self, reader: RecordReader, seed: int, *, boxed_share: float = 0.0):
        if not 0 <= boxed_share <= 1:
            raise ValueError(f"DATALOADER.BOXED_SHARE is {boxed_share}; it must be in [0, 1]")
        self.reader = reader
        self.seed = seed
        self.boxed_share = boxed_share
        facts = [("annotations" in record, record.get("repeat", 1)) for record in reader.records]
        known, repeats = map(np.array, zip(*facts, strict=True))
        images = np.repeat(np.arange(len(reader)), repeats)
        self.boxed = images
        if boxed_share:
            self.boxed, self.unboxed = images[known[images]], images[~known[images]]
            if not known.any() or (boxed_share < 1 and known.all()):
                raise ValueError(
                    f"DATALOADER.BOXED_SHARE is {boxed_share}, but {known.sum()} of {len(reader)} "
                    "training images have boxes; set it to 0"
                )

    def __getitem__(self, position: int) -> dict[str, Any]:
        images, turn = self._turn(position)
        epoch, place = divmod(turn, len(images))
        index = int(images[epoch_order(self.seed, epoch, len(images))[place]])
        with random_state_of(self.seed, position):
            return self.reader[index]

    def _turn(self, position: int) -> tuple[np.ndarray, int]:
        """Return the images that a position draws from, and how many draws there were before."""
        if not self.boxed_share:
            return self.boxed, position
        before = math.floor(position * self.boxed_share)
        if math.floor((position + 1) * self.boxed_share) > before:
            return self.boxed, before
        return self.unboxed, position - before


# Of images with boxes and of others, each this pass and the next.
@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


@contextmanager
def random_state_of(seed: int, position: int) -> Iterator[None]:
    """Seed the global generators that augmentations draw from, and restore them afterwards."""
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


def _train_loader_from_config(cfg: CfgNode, mapper: Callable | None = None) -> dict[str, Any]:
    names = cfg.DATASETS.TRAIN
    if not names:
        raise ValueError("DATASETS.TRAIN is empty: there is nothing to train on")
    check_registered(names, "DATASETS.TRAIN")
    keypoints = cfg.MODEL.KEYPOINT_ON and cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
    records = training_dicts(
        cfg,
        # Without a detector, images without objects are as good as others.
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and cfg.MODEL.DETECTOR != "",
        min_keypoints=int(keypoints),
    )
    check_classes(cfg)
    records = subset(records, cfg.DATASETS.TRAIN_FRACTION, setting="DATASETS.TRAIN_FRACTION")
    records = forget_boxes(records, kept=cfg.DATASETS.BOXED_FRACTION)
    if cfg.MODEL.DETECTOR:
        report_boxes(records)
    report_labels(records, cfg)
    return {
        "records": records,
        "mapper": RockDatasetMapper(cfg, is_train=True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        # As in Detectron2, a negative seed means a new one; all processes must share it.
        "seed": comm.shared_random_seed() if cfg.SEED < 0 else cfg.SEED,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "boxed_share": cfg.DATALOADER.BOXED_SHARE,
        "resident": cfg.DATALOADER.RESIDENT,
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
    boxed_share: float = 0.0,
    resident: bool = False,
) -> ListLoader:
    """Return an endless loader of lists of batch items, ``total_batch_size`` in all processes.

    The same seed gives the same global batches under all other settings. A training that is
    resumed begins with ``start_batch``. ``config.py`` explains the rest.
    """
    world_size = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {total_batch_size}, no multiple of {world_size} process(es)"
        )
    batch_size = total_batch_size // world_size
    reader = ResidentReader(records, mapper) if resident else RecordReader(records, mapper)
    return ListLoader(
        SampleStream(reader, seed, boxed_share=boxed_share),
        batch_size=batch_size,
        sampler=PositionSampler(batch_size, comm.get_rank(), world_size, start_batch),
        num_workers=num_workers,
    )


def report_boxes(records: Sequence[dict[str, Any]]) -> None:
    """Log how many training images have known boxes; raise ValueError if none has."""
    count = sum("annotations" in record for record in records)
    if not count:
        raise ValueError(
            "DATASETS.TRAIN: the boxes of all images are unknown; tasks alone are learned with "
            "MODEL.DETECTOR ''"
        )
    if count < len(records):
        logger.info(f"{count} of {len(records)} training images have known boxes")


def report_labels(records: Sequence[dict[str, Any]], cfg: CfgNode) -> None:
    """Warn of tasks that no training image has a label of; raise ValueError if nothing is left."""
    tasks = build_tasks(cfg)
    absent = [task for task in tasks if not any(task.field in record for record in records)]
    if not absent:
        return
    names = ", ".join(f"{task.name} (`{task.field}`)" for task in absent)
    problem = f"DATASETS.TRAIN: no image has a label of {names}"
    if len(absent) == len(tasks) and not cfg.MODEL.DETECTOR:
        raise ValueError(f"{problem}: there is nothing to learn")
    if cfg.MODEL.NECK.NAME != "IdentityNeck":
        logger.warning(f"{problem}: nothing is learned there")


def build_test_loader(cfg: CfgNode, dataset_name: str) -> ListLoader:
    """Return a loader of a test set, once, in its order; items keep their labels' file names."""
    check_registered([dataset_name], "DATASETS.TEST")
    records = set_dicts(dataset_name)
    return ListLoader(
        RecordReader(records, RockDatasetMapper(cfg, is_train=False)),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        sampler=InferenceSampler(len(records)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def check_registered(names: Sequence[str], setting: str) -> None:
    registered = DatasetCatalog.list()
    for name in names:
        if name not in registered:
            close = ", ".join(get_close_matches(name, registered)) or "none with such a name"
            raise ValueError(
                f"{setting}: {name!r} is not registered; there is {close} (--import FILE registers "
                "data sets of one's own)"
            )


def detector_key(cfg: CfgNode) -> str:
    """Return the key below ``cfg.MODEL`` that holds the detector's NUM_CLASSES, if it has one."""
    architecture = cfg.MODEL.META_ARCHITECTURE
    detector = cfg.MODEL.DETECTOR if architecture == "MultiTask" else architecture
    # Detectron2's two-stage detectors count classes where they classify.
    return {"GeneralizedRCNN": "ROI_HEADS"}.get(detector, detector.upper())


def check_classes(cfg: CfgNode) -> None:
    """Raise ValueError if the training sets have other classes than the detector or a task."""
    key, names = detector_key(cfg), cfg.DATASETS.TRAIN
    expected, found = cfg.MODEL.get(key, CfgNode()).get("NUM_CLASSES", 0), len(class_names(cfg))
    known = set().union(*map(thing_classes, names))
    if known and (unknown := set(cfg.DATASETS.CLASSES) - known):
        raise ValueError(f"DATASETS.CLASSES: no training set has {', '.join(sorted(unknown))}")
    if found and expected not in (0, found):
        raise ValueError(
            f"MODEL.{key}.NUM_CLASSES is {expected}, but {', '.join(names)} have {found} classes"
        )
    if has_ignored_classes(cfg) and cfg.MODEL.META_ARCHITECTURE != "MultiTask":
        raise ValueError(
            "DATASETS.TRAIN: sets with different thing_classes need MODEL.META_ARCHITECTURE "
            "MultiTask"
        )
    for name, labels in zip(names, of_each_set(cfg, "KEEP_LABELS", ALL), strict=True):
        for task in build_tasks(cfg):
            if {ALL, task.name} & {*labels.split()}:
                first = MetadataCatalog.get(first_set(cfg, task.name))
                task.check_metadata(MetadataCatalog.get(name), first)
