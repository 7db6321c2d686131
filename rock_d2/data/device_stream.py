"""The training set on a device that augments whole batches (DATALOADER.AUGMENT_ON)."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from detectron2.data import transforms as T
from detectron2.data.detection_utils import check_image_size

from rock_d2.data.dataset_mapper import RockDatasetMapper
from rock_d2.data.device_images import DeviceImages
from rock_d2.data.memory import check_that_it_fits, resident_bytes
from rock_d2.data.reading import READ_ERRORS, read_patiently
from rock_d2.data.sampling import Sampling
from rock_d2.data.stream import SampleStream

logger = logging.getLogger(__name__)

# Of a batch item that is not finished: what its pixels will be.
PLAN = "plan"


class Plan(NamedTuple):
    """What is drawn for a batch item.

    Attributes:
        index: the record's number.
        sampling: what becomes of the image.
        transforms: the same for the labels.
    """

    index: int
    sampling: Sampling
    transforms: T.TransformList


class DeviceStream(SampleStream):
    """A SampleStream whose pixels are on a device: the same items to the last bit.

    The host draws the same random numbers as ever and computes the boxes; what becomes of the
    pixels, it only plans. A batch's images are views of one tensor, and so are its maps. (OpenCV
    rounds the last columns of odd widths otherwise when saturation or hue change: one level.)
    """

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        mapper: RockDatasetMapper,
        seed: int,
        *,
        device: torch.device,
        retries: int = 0,
        max_unreadable: int = 0,
    ):
        super().__init__(records, mapper, seed, retries=retries, max_unreadable=max_unreadable)
        start = time.perf_counter()
        sizes = [size_of(record) for record in records]
        check_that_it_fits(records, mapper.tasks, device)
        self.images = DeviceImages(sizes, rgb=mapper.image_format == "RGB", device=device)
        self.shelves = {task.name: task.shelf(records, device) for task in mapper.tasks}
        self.problems: dict[int, Exception] = {}
        # Threads, since OpenCV decodes without holding Python back.
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._load, range(len(records))))
        gigabytes = resident_bytes(records, mapper.tasks) / 1e9
        seconds = time.perf_counter() - start
        logger.info(
            f"{len(records)} images decoded in {seconds:.1f} s: {gigabytes:.2f} GB on {device}, "
            "which augments them, without loader workers"
        )

    def _load(self, index: int) -> None:
        record = self.records[index]
        try:
            decoded = read_patiently(self.mapper.decode, record, retries=self.retries)
            check_image_size(dict(record), decoded.image)
            self.images.put(index, decoded.image)
            for name, label in decoded.labels.items():
                self.shelves[name].put(index, label)
        except READ_ERRORS as problem:
            self.problems[index] = problem

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The items of these positions, made together; a DataLoader asks for a batch so."""
        planned = map(super().__getitem__, positions)
        return self._finished(list(planned))

    def map(self, index: int, record: dict[str, Any]) -> dict[str, Any]:
        if index in self.problems:
            # Without the traceback, which would grow with every time.
            raise self.problems[index].with_traceback(None)
        item, sampling, transforms = self.mapper.plan(record)
        return {**item, PLAN: Plan(index, sampling, transforms)}

    @torch.no_grad()
    def _finished(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items with their images and labels in place of the plans."""
        indices, samplings, transforms = zip(*(item.pop(PLAN) for item in items), strict=True)
        for item, image in zip(items, self.images.batch(indices, samplings), strict=True):
            item["image"] = image
        for name, shelf in self.shelves.items():
            for item, label in zip(items, shelf.batch(indices, transforms), strict=True):
                if label is not None:
                    item[name] = label
        return items


def size_of(record: dict[str, Any]) -> tuple[int, int]:
    if not {"height", "width"} <= record.keys():
        raise ValueError(
            f"{record.get('file_name')}: has no `height` and `width`, which "
            "DATALOADER.AUGMENT_ON: device needs"
        )
    return record["height"], record["width"]
