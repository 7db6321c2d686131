"""Tasks whose label is a map, stored as a PNG.

N images, C channels (``num_outputs``), H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from detectron2.data import Metadata

from rock_d2.image_files import read_pixels
from rock_d2.layers import known_average
from rock_d2.tasks.base import Task
from rock_d2.tasks.geometry import RULES, CameraChange, LabelMap


@dataclass(frozen=True)
class MapTask(Task):
    """A task whose label is a map of ``label_channels`` channels.

    Attributes:
        stored_type: NumPy type of the PNG.
        unknown_level: the PNG's level where nothing is known.
        unknown_value: the same in batches.
        background_level: the PNG's level where there is nothing, if it has one.
        label_channels: of the PNG; ``num_outputs`` by default.
    """

    is_map = True
    stored_type: ClassVar[type] = np.uint8
    unknown_level: ClassVar[int] = 0
    unknown_value: ClassVar[float] = 0.0
    background_level: ClassVar[int | None] = None

    @classmethod
    def register_transforms(cls) -> None:
        for transform, rule in RULES.items():
            transform.register_type(cls.name, rule)

    @property
    def channels(self) -> int:
        """A block of 128 channels for each output, as the paper's depth has."""
        return 128 * self.num_outputs

    @property
    def label_channels(self) -> int:
        return self.num_outputs

    def values(self, pixels: torch.Tensor, camera: CameraChange) -> torch.Tensor:
        """Return float32 (C, H, W) in the label's units, as the changed camera sees them."""
        return pixels.float()

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the PNG's pixels of a label as ``read`` returns it."""
        return values.astype(self.stored_type)

    def load(self, record: Mapping[str, Any]) -> LabelMap | None:
        if self.field not in record:
            return None
        pixels = self.read_pixels(record[self.field])
        if problem := size_problem(pixels, record):
            raise ValueError(f"{self.place(record[self.field])}: {problem}")
        planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        return LabelMap(
            np.ascontiguousarray(planes), self.unknown_level, background=self.background_level
        )

    def read(self, record: Mapping[str, Any]) -> np.ndarray | None:
        """Return float32 (H, W) or, of several channels, (H, W, C)."""
        label = self.load(record)
        return None if label is None else self.as_values(self.to_tensor(label).numpy())

    def as_values(self, prediction: np.ndarray) -> np.ndarray:
        return prediction[0] if len(prediction) == 1 else np.moveaxis(prediction, 0, 2)

    def place(self, label: str | np.ndarray) -> str:
        return f"`{self.name}`" if isinstance(label, np.ndarray) else str(label)

    def read_pixels(self, label: str | np.ndarray) -> np.ndarray:
        """Return the pixels of a label's PNG, or of an array, (H, W) or (H, W, C) in RGB order."""
        is_array = isinstance(label, np.ndarray)
        pixels = self.encode(label) if is_array else read_pixels(label, field=self.field)
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if pixels.dtype != self.stored_type or channels != self.label_channels:
            raise ValueError(
                f"{self.place(label)}: named by `{self.field}`, holds {channels} channel(s) of "
                f"{pixels.dtype}; expected {self.label_channels} of {np.dtype(self.stored_type)} "
                "(see datasets/README.md)"
            )
        return pixels

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        path = record[self.field]
        try:
            pixels = self.read_pixels(path)
        except (OSError, ValueError) as error:
            return [str(error)], 0.0
        problems = [f"{path}: {problem}" for problem in self.pixel_problems(pixels)]
        if problem := size_problem(pixels, record):
            problems.append(f"{path}: {problem}")
        known = (pixels != self.unknown_level).reshape(*pixels.shape[:2], -1).any(axis=2)
        return problems, float(known.mean())

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        """Yield the faults of a readable file's values, a line each."""
        yield from ()

    def to_tensor(self, label: LabelMap) -> torch.Tensor:
        """Return float32 (C, H, W)."""
        pixels = torch.from_numpy(np.ascontiguousarray(label.pixels))
        return self.values(pixels, label.camera)

    def collate(
        self,
        batched_inputs: Sequence[Mapping[str, Any]],
        *,
        size: tuple[int, int],
        device: torch.device,
    ) -> torch.Tensor:
        """Return (N, C, H, W); an image without a label, and padding, are unknown."""
        shape = (len(batched_inputs), self.label_channels, *size)
        labels = torch.full(shape, self.unknown_value, device=device)
        for target, item in zip(labels, batched_inputs, strict=True):
            if self.name in item:
                label, (height, width) = item[self.name], item["image"].shape[-2:]
                if label.shape != (self.label_channels, height, width):
                    raise ValueError(
                        f"batch item `{self.name}` is {tuple(label.shape)}; its image wants "
                        f"{(self.label_channels, height, width)}"
                    )
                target[:, :height, :width] = label.to(device, non_blocking=True)
        return labels

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means of the known pixels, for predictions in the label's units."""
        known = (target != self.unknown_value).any(dim=1, keepdim=True)
        return known_average(target, known, size)


def size_problem(pixels: np.ndarray, record: Mapping[str, Any]) -> str:
    """Return in which way a label has another size than its image, "" if it has not."""
    height, width = pixels.shape[:2]
    wanted = record.get("height", height), record.get("width", width)
    if (height, width) == wanted:
        return ""
    return f"is {height} x {width}, its image {wanted[0]} x {wanted[1]}"
