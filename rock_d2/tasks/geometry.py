"""How label maps follow Detectron2's transforms.

The network sees images of one size, so what counts is the focal length in units of the image's
width: a crop makes it longer (the camera zooms in), padding makes it shorter, a resize leaves it.
Eigen and Fergus, ICCV 2015, keep the camera and change the scene instead: a zoom by s is the same
scene at depth z / s. What that does to its values, a task tells itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
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


class CameraChange(NamedTuple):
    """What transforms do to the camera: the signs of its axes and its zoom."""

    x: int = 1
    y: int = 1
    zoom: float = 1.0

    def then(self, other: "CameraChange") -> "CameraChange":
        return CameraChange(self.x * other.x, self.y * other.y, self.zoom * other.zoom)


@dataclass(frozen=True)
class StoredMap:
    """A label map on its way through the transforms.

    The pixels stay as the file holds them, which is compact, and what happens to the camera is
    remembered; the task computes values once, at the end.

    Attributes:
        pixels: (H, W) or (H, W, C).
        unknown: the level of a pixel without a label.
        camera: what has happened to the camera.
    """

    pixels: np.ndarray
    unknown: int
    camera: CameraChange


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


def crop_pixels(crop: CropTransform, label: StoredMap) -> np.ndarray:
    return label.pixels[crop.y0 : crop.y0 + crop.h, crop.x0 : crop.x0 + crop.w]


def pad_pixels(pad: PadTransform, label: StoredMap) -> np.ndarray:
    """New pixels are unknown."""
    margins = [(pad.y0, pad.y1), (pad.x0, pad.x1), (0, 0)][: label.pixels.ndim]
    return np.pad(label.pixels, margins, constant_values=label.unknown)


def resize_pixels(resize: ResizeTransform | ScaleTransform, label: StoredMap) -> np.ndarray:
    """The pixel that holds each new pixel's centre: known and unknown pixels never mix."""
    if label.pixels.shape[:2] == (resize.new_h, resize.new_w):
        return label.pixels
    rows = _nearest(label.pixels.shape[0], resize.new_h)
    columns = _nearest(label.pixels.shape[1], resize.new_w)
    return np.take(np.take(label.pixels, rows, axis=0), columns, axis=1)


def _nearest(old: int, new: int) -> np.ndarray:
    return (2 * np.arange(new) + 1) * old // (2 * new)


# What moves the pixels of a map, and how it changes the camera. Transforms that stand neither
# here nor in COLOR_ONLY have no rule, and AuxTask.transform refuses them.
GEOMETRIC: dict[type[Transform], tuple[Callable, Callable]] = {
    CropTransform: (crop_pixels, crop_zoom),
    PadTransform: (pad_pixels, pad_zoom),
    ResizeTransform: (resize_pixels, lambda resize: CameraChange()),
    ScaleTransform: (resize_pixels, lambda scale: CameraChange()),
    HFlipTransform: (lambda flip, label: label.pixels[:, ::-1], lambda flip: CameraChange(x=-1)),
    VFlipTransform: (lambda flip, label: label.pixels[::-1], lambda flip: CameraChange(y=-1)),
}
COLOR_ONLY = (NoOpTransform, BlendTransform, ColorTransform)


def register_map_type(name: str) -> None:
    """Gives the transforms ``apply_<name>`` for a ``StoredMap``."""

    def rule(move: Callable, change: Callable) -> Callable:
        return lambda transform, label: replace(
            label, pixels=move(transform, label), camera=label.camera.then(change(transform))
        )

    for transform, (move, change) in GEOMETRIC.items():
        transform.register_type(name, rule(move, change))
    for transform in COLOR_ONLY:
        transform.register_type(name, lambda transform, label: label)
