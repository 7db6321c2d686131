"""Tasks whose label is a map, stored as a PNG."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.data.transforms import TransformList
from torch.nn import functional as F

from rock_d2.image_files import read_pixels
from rock_d2.tasks.base import Task, Shelf
from rock_d2.tasks.geometry import OUTSIDE, CameraChange, StoredMap, View
from rock_d2.tasks.pixel_store import PixelStore, outside, stack_on


@dataclass(frozen=True)
class MapTask(Task):
    """A task whose label is a map of ``num_outputs`` channels with 0 = unknown.

    Attributes:
        stored_type: NumPy type of the PNG.
        unknown_level: what the PNG holds where nothing is known.
    """

    stored_type: ClassVar[type]
    unknown_level: ClassVar[int]

    @abstractmethod
    def values(self, pixels: torch.Tensor, cameras: Sequence[CameraChange]) -> torch.Tensor:
        """float32 (N, C, H, W) in the label's units, as the changed cameras see them.

        Args:
            pixels: as stored, (N, C, H, W).
            cameras: what has happened to the camera of each since.
        """

    def load(self, record: Mapping[str, Any]) -> StoredMap | None:
        if self.field not in record:
            return None
        return StoredMap.whole(self.read_pixels(record[self.field]))

    def read(self, record: Mapping[str, Any]) -> np.ndarray | None:
        """float32 (H, W) or, of several channels, (H, W, C)."""
        label = self.load(record)
        return None if label is None else as_read(self.to_tensor(label))

    def read_pixels(self, path: str) -> np.ndarray:
        """The pixels of a label's PNG, (H, W) or (H, W, C) in RGB order."""
        pixels = read_pixels(path, cv2.IMREAD_UNCHANGED, field=self.field)
        where = f"{path}: named by `{self.field}`,"
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if pixels.dtype != self.stored_type or channels != self.num_outputs:
            raise ValueError(
                f"{where} holds {channels} channel(s) of {pixels.dtype}; expected "
                f"{self.num_outputs} of {np.dtype(self.stored_type)} (see datasets/README.md)"
            )
        return pixels if channels == 1 else pixels[..., ::-1]

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        path = record[self.field]
        try:
            pixels = self.read_pixels(path)
        except ValueError as error:
            return [str(error)], 0.0
        problems = [f"{path}: {problem}" for problem in self.pixel_problems(pixels)]
        height, width = pixels.shape[:2]
        if (height, width) != (record.get("height"), record.get("width")):
            size = f"{record.get('height')} x {record.get('width')}"
            problems.append(f"{path}: is {height} x {width}, its image {size}")
        known = (pixels != self.unknown_level).reshape(height, width, -1).any(axis=2)
        return problems, float(known.mean())

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        """What is wrong with the values of a readable file, a line each."""
        yield from ()

    def transform(self, label: StoredMap, transforms: TransformList) -> StoredMap:
        return label._replace(view=self.change_view(label.view, transforms))

    def change_view(self, view: View, transforms: TransformList) -> View:
        """What is seen of a map, whatever its pixels are, after the transforms."""
        return super().transform(view, transforms)

    def to_tensor(self, label: StoredMap) -> torch.Tensor:
        """float32 (C, H, W)."""
        pixels = torch.from_numpy(label.seen(self.unknown_level))
        return self.values(pixels[None], [label.view.camera])[0]

    def stored_bytes(self, record: Mapping[str, Any]) -> int:
        if self.field not in record:
            return 0
        per_pixel = np.dtype(self.stored_type).itemsize * self.num_outputs
        return record["height"] * record["width"] * per_pixel

    def shelf(self, records: Sequence[Mapping[str, Any]], device: torch.device) -> Shelf:
        return MapShelf(self, records, device)

    def collate(
        self, batched_inputs: Sequence[Mapping[str, Any]], device: torch.device
    ) -> torch.Tensor:
        """(N, C, H, W); an image without a label is unknown everywhere."""
        labels = []
        for item in batched_inputs:
            shape = (self.num_outputs, *item["image"].shape[-2:])
            label = item.get(self.name)
            if label is None:
                labels.append(torch.zeros(shape, device=device))
                continue
            if tuple(label.shape) != shape or label.dtype != torch.float32:
                raise ValueError(
                    f"batch item `{self.name}` is {label.dtype} {tuple(label.shape)}; its image "
                    f"wants torch.float32 {shape}"
                )
            labels.append(label.to(device, non_blocking=True))
        return torch.stack(labels)


class MapShelf(Shelf):
    """The maps of a data set on a device, which makes those of a batch at once."""

    def __init__(self, task: MapTask, records: Sequence[Mapping[str, Any]], device: torch.device):
        self.task = task
        sizes = [(r["height"], r["width"]) if task.field in r else (0, 0) for r in records]
        channels, stored_type = task.num_outputs, task.stored_type
        self.store = PixelStore(sizes, channels=channels, stored_type=stored_type, device=device)

    def put(self, index: int, label: StoredMap | None) -> None:
        if label is None:
            return
        size, wanted = label.pixels.shape[1:], tuple(self.store.sizes[index])
        if size != wanted:
            found, expected = (" x ".join(map(str, sides)) for sides in (size, wanted))
            raise ValueError(f"its `{self.task.field}` is {found}, the image {expected}")
        self.store.put(index, label.pixels)

    def batch(
        self, indices: Sequence[int], transforms: Sequence[TransformList]
    ) -> list[torch.Tensor | None]:
        """Each image's float32 (C, H, W), or None; together they are one tensor."""
        known = [place for place, index in enumerate(indices) if self.store.sizes[index].any()]
        views = [
            self.task.change_view(View.whole(*self.store.sizes[indices[place]]), transforms[place])
            for place in known
        ]
        values = self._values([indices[place] for place in known], views) if known else ()
        found = dict(zip(known, values, strict=True))
        return [found.get(place) for place in range(len(indices))]

    def _values(self, indices: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        rows = map(self.store.row_starts, indices, (view.rows for view in views))
        row_starts = stack_on(list(rows), self.store.device)
        columns = stack_on([view.columns for view in views], self.store.device)
        pixels = torch.stack(self.store.gather(row_starts, columns), dim=1)
        if any((axis == OUTSIDE).any() for view in views for axis in view[:2]):
            pixels.masked_fill_(outside(row_starts, columns)[:, None], self.task.unknown_level)
        return self.task.values(pixels, [view.camera for view in views])


def as_read(label: torch.Tensor) -> np.ndarray:
    """A map as batches hold it, (C, H, W), in the form of ``Task.read``."""
    values = label.numpy()
    return values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)


def per_image(values: Sequence[Any], like: torch.Tensor) -> torch.Tensor:
    """Numbers, or (C,) numbers, of each image as float32 to compute with ``like`` (N, C, H, W)."""
    numbers = np.asarray(values, dtype=np.float32)
    return stack_on(numbers.reshape(len(numbers), -1, 1, 1), like.device)


def square_root(values: torch.Tensor) -> torch.Tensor:
    """In place, and on all devices to the last bit the same: on the CPU PyTorch's own is not."""
    if values.device.type != "cpu":
        return values.sqrt_()
    np.sqrt(values.numpy(), out=values.numpy())
    return values


def resize_prediction(prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
    """(C, h, w) to fp32 (C, H, W), bilinear."""
    resized = F.interpolate(
        prediction[None].float(), size=output_size, mode="bilinear", align_corners=False
    )
    return resized[0]
