"""Tasks whose label is a map, stored as a PNG."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.image_files import read_pixels
from rock_d2.tasks.base import AuxTask
from rock_d2.tasks.geometry import CameraChange, StoredMap


@dataclass(frozen=True)
class MapTask(AuxTask):
    """A task whose label is a map of ``num_outputs`` channels with 0 = unknown.

    Attributes:
        stored_type: NumPy type of the PNG.
        unknown_level: what the PNG holds where nothing is known.
    """

    stored_type: ClassVar[type]
    unknown_level: ClassVar[int]

    @abstractmethod
    def values(self, pixels: np.ndarray, camera: CameraChange) -> np.ndarray:
        """float32 (C, H, W) in the label's units, as the changed camera sees them.

        Args:
            pixels: as stored, (H, W) or (H, W, C).
            camera: what has happened to the camera since.
        """

    def load(self, record: Mapping[str, Any]) -> StoredMap | None:
        if self.field not in record:
            return None
        pixels = self.read_pixels(record[self.field])
        return StoredMap(pixels, unknown=self.unknown_level, camera=CameraChange())

    def read(self, record: Mapping[str, Any]) -> np.ndarray | None:
        """float32 (H, W) or, of several channels, (H, W, C)."""
        if self.field not in record:
            return None
        values = self.values(self.read_pixels(record[self.field]), CameraChange())
        return values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)

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

    def to_tensor(self, label: StoredMap) -> torch.Tensor:
        """float32 (C, H, W)."""
        return torch.from_numpy(self.values(label.pixels, label.camera))

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


def resize_prediction(prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
    """(C, h, w) to fp32 (C, H, W), bilinear."""
    resized = F.interpolate(
        prediction[None].float(), size=output_size, mode="bilinear", align_corners=False
    )
    return resized[0]
