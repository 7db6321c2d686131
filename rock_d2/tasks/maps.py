"""Tasks whose label is a map, and how maps follow Detectron2's transforms.

The network sees images of one size, so what counts is the focal length in units of the image's
width: a crop makes it longer (the camera zooms in), padding makes it shorter, a resize leaves it.
Eigen and Fergus, ICCV 2015, keep the camera and change the scene instead: a zoom by s is the same
scene at depth z / s. Every map type tells what that does to its values, and this file the rest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.data.transforms import ColorTransform, ResizeTransform
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    VFlipTransform,
)
from torch.nn import functional as F

from rock_d2.tasks.base import AuxTask


@dataclass(frozen=True)
class MapTask(AuxTask):
    """A task whose label is float32 (H, W) or (H, W, C) with 0 = unknown, a PNG on disk."""

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        try:
            label = self.decode(record[self.field])
        except ValueError as error:
            return [str(error)], 0.0
        size = (record.get("height"), record.get("width"))
        problems = list(self.value_problems(record[self.field]))
        if label.shape[:2] != size:
            problems.append(
                f"{record[self.field]}: is {label.shape[0]} x {label.shape[1]}, its image "
                f"{size[0]} x {size[1]}"
            )
        known = label != 0 if label.ndim == 2 else (label != 0).any(axis=2)
        return problems, float(known.mean())

    def value_problems(self, stored: str) -> Iterator[str]:
        """What is wrong with the values of a readable file, a line each."""
        yield from ()

    def to_tensor(self, label: np.ndarray) -> torch.Tensor:
        """float32 (C, H, W)."""
        maps = label if label.ndim == 3 else label[..., None]
        return torch.from_numpy(np.ascontiguousarray(maps.transpose(2, 0, 1)))

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


def read_png(path: str, *, field: str, dtype: type, channels: int) -> np.ndarray:
    """Reads a label image in the form that its task stores.

    Args:
        path: the file.
        field: the field of the dataset dict that named it, for the error's sake.
        dtype: the type that the file must have.
        channels: the number of channels that the file must have.

    Returns:
        (H, W), or (H, W, channels) in RGB order.
    """
    pixels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{path}: named by `{field}`, is missing or no image; write it anew")
    found = (pixels.dtype, 1 if pixels.ndim == 2 else pixels.shape[2])
    if found != (np.dtype(dtype), channels):
        raise ValueError(
            f"{path}: named by `{field}`, holds {found[1]} channels of {found[0]}; "
            f"expected {channels} of {np.dtype(dtype)} (see datasets/README.md)"
        )
    return pixels if channels == 1 else np.ascontiguousarray(pixels[..., ::-1])


class CameraChange(NamedTuple):
    """What a transform does to the camera: the signs of its axes and its zoom."""

    x: int = 1
    y: int = 1
    zoom: float = 1.0


def crop_zoom(crop: CropTransform) -> CameraChange:
    return CameraChange(zoom=_zoom(crop, before=(crop.orig_w, crop.orig_h), after=(crop.w, crop.h)))


def pad_zoom(pad: PadTransform) -> CameraChange:
    before = (pad.orig_w, pad.orig_h)
    if None in before:
        return CameraChange(zoom=_zoom(pad, before=before, after=before))
    after = (pad.orig_w + pad.x0 + pad.x1, pad.orig_h + pad.y0 + pad.y1)
    return CameraChange(zoom=_zoom(pad, before=before, after=after))


def _zoom(
    transform: Transform, *, before: tuple[int | None, int | None], after: tuple[int, int]
) -> float:
    """Width before over width after; refuses what is no zoom."""
    if None in before:
        raise ValueError(f"{transform}: labels need to know orig_w and orig_h to zoom; pass them")
    # Whole pixels: each side may be half a pixel away from the exact aspect ratio.
    if abs(after[0] * before[1] - after[1] * before[0]) > 0.5 * sum(before) + 1e-6:
        raise ValueError(
            f"{transform}: changes the aspect ratio of {before}, which is no zoom; labels follow "
            "crops and padding at a fixed aspect ratio only"
        )
    return before[0] / after[0]


def crop_pixels(crop: CropTransform, value: np.ndarray) -> np.ndarray:
    return value[crop.y0 : crop.y0 + crop.h, crop.x0 : crop.x0 + crop.w]


def pad_pixels(pad: PadTransform, value: np.ndarray) -> np.ndarray:
    """New pixels are 0, which is 'unknown' in every map."""
    height, width = value.shape[:2]
    padded = np.zeros(
        (height + pad.y0 + pad.y1, width + pad.x0 + pad.x1, *value.shape[2:]), value.dtype
    )
    padded[pad.y0 : pad.y0 + height, pad.x0 : pad.x0 + width] = value
    return padded


def resize_pixels(resize: ResizeTransform | ScaleTransform, value: np.ndarray) -> np.ndarray:
    """The pixel that holds each new pixel's centre: known and unknown pixels never mix."""
    rows = _nearest(value.shape[0], resize.new_h)
    columns = _nearest(value.shape[1], resize.new_w)
    return np.take(np.take(value, rows, axis=0), columns, axis=1)


def _nearest(old: int, new: int) -> np.ndarray:
    return (2 * np.arange(new) + 1) * old // (2 * new)


# What moves the pixels of a map, and how it changes the camera. Transforms that stand neither
# here nor in COLOR_ONLY have no rule, and AuxTask.transform refuses them.
GEOMETRIC: dict[type[Transform], tuple[Callable, Callable]] = {
    CropTransform: (crop_pixels, crop_zoom),
    PadTransform: (pad_pixels, pad_zoom),
    ResizeTransform: (resize_pixels, lambda resize: CameraChange()),
    ScaleTransform: (resize_pixels, lambda scale: CameraChange()),
    HFlipTransform: (lambda flip, value: value[:, ::-1], lambda flip: CameraChange(x=-1)),
    VFlipTransform: (lambda flip, value: value[::-1], lambda flip: CameraChange(y=-1)),
}
COLOR_ONLY = (NoOpTransform, BlendTransform, ColorTransform)


def register_map_type(name: str, adjust: Callable[[np.ndarray, CameraChange], np.ndarray]) -> None:
    """Gives the transforms ``apply_<name>`` for maps (H, W) or (H, W, C) with 0 = unknown.

    Args:
        name: of the task.
        adjust: from moved values and the camera's change to the values in the new camera.
    """

    def rule(move: Callable, change: Callable) -> Callable:
        return lambda transform, value: adjust(move(transform, value), change(transform))

    for transform, (move, change) in GEOMETRIC.items():
        transform.register_type(name, rule(move, change))
    for transform in COLOR_ONLY:
        transform.register_type(name, lambda transform, value: value)
