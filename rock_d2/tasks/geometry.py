"""How label maps follow Detectron2's transforms: one rule for each transform.

The network sees images of one size, so what counts is the focal length in units of the image's
width: a crop makes it longer (the camera zooms in), padding makes it shorter, a resize leaves it.
Eigen and Fergus, ICCV 2015, keep the camera and change the scene instead: a zoom by s is the same
scene at depth z / s. Each task's ``values`` says what that does to its values.
"""

from collections.abc import Callable
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
    """The effect of transforms on the camera: the signs of its axes and its zoom."""

    x: int = 1
    y: int = 1
    zoom: float = 1.0

    def then(self, other: "CameraChange") -> "CameraChange":
        return CameraChange(self.x * other.x, self.y * other.y, self.zoom * other.zoom)


class LabelMap(NamedTuple):
    """A label map on its way through the transforms.

    Attributes:
        pixels: (C, H, W), of the file's type.
        unknown: the level of pixels where nothing is known.
        camera: its change since the file was read.
    """

    pixels: np.ndarray
    unknown: int
    camera: CameraChange = CameraChange()


def crop(transform: CropTransform, label: LabelMap) -> LabelMap:
    t = transform
    zoom = _zoom(t, before=(t.orig_w, t.orig_h), after=(t.w, t.h))
    pixels = label.pixels[:, t.y0 : t.y0 + t.h, t.x0 : t.x0 + t.w]
    return label._replace(pixels=pixels, camera=label.camera.then(CameraChange(zoom=zoom)))


def pad(transform: PadTransform, label: LabelMap) -> LabelMap:
    t = transform
    height, width = label.pixels.shape[1:]
    before = (t.orig_w or width, t.orig_h or height)
    after = (before[0] + t.x0 + t.x1, before[1] + t.y0 + t.y1)
    borders = ((0, 0), (t.y0, t.y1), (t.x0, t.x1))
    pixels = np.pad(label.pixels, borders, constant_values=label.unknown)
    zoom = _zoom(t, before=before, after=after)
    return label._replace(pixels=pixels, camera=label.camera.then(CameraChange(zoom=zoom)))


def resize(transform: ResizeTransform | ScaleTransform, label: LabelMap) -> LabelMap:
    """Take the pixel that holds each new pixel's centre: known and unknown pixels never mix."""
    height, width = label.pixels.shape[1:]
    rows, columns = _nearest(height, transform.new_h), _nearest(width, transform.new_w)
    return label._replace(pixels=label.pixels[:, rows][:, :, columns])


def flip_horizontally(transform: HFlipTransform, label: LabelMap) -> LabelMap:
    camera = label.camera.then(CameraChange(x=-1))
    return label._replace(pixels=label.pixels[:, :, ::-1], camera=camera)


def flip_vertically(transform: VFlipTransform, label: LabelMap) -> LabelMap:
    camera = label.camera.then(CameraChange(y=-1))
    return label._replace(pixels=label.pixels[:, ::-1], camera=camera)


def leave(transform: Transform, label: LabelMap) -> LabelMap:
    return label


def _zoom(
    transform: Transform, *, before: tuple[int | None, int | None], after: tuple[int, int]
) -> float:
    """Return width before over width after; raise ValueError for a change of aspect ratio."""
    if None in before:
        raise ValueError(f"{transform}: labels need to know orig_w and orig_h to zoom; pass them")
    # Whole pixels: each side may be half a pixel away from the exact aspect ratio.
    if abs(after[0] * before[1] - after[1] * before[0]) > 0.5 * sum(before) + 1e-6:
        raise ValueError(
            f"{transform}: changes the aspect ratio of {before}, which is no zoom; labels follow "
            "crops and padding at a fixed aspect ratio only"
        )
    return before[0] / after[0]


def _nearest(old: int, new: int) -> np.ndarray:
    return (2 * np.arange(new) + 1) * old // (2 * new)


# Transforms that are not listed have no rule, and Task.transform refuses them.
RULES: dict[type[Transform], Callable[[Transform, LabelMap], LabelMap]] = {
    CropTransform: crop,
    PadTransform: pad,
    ResizeTransform: resize,
    ScaleTransform: resize,
    HFlipTransform: flip_horizontally,
    VFlipTransform: flip_vertically,
    NoOpTransform: leave,
    BlendTransform: leave,
    ColorTransform: leave,
}
