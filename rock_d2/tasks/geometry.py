"""How label maps follow Detectron2's transforms.

The network sees images of one size, so what counts is the focal length in units of the image's
width: a crop makes it longer (the camera zooms in), padding makes it shorter, a resize leaves it.
Eigen and Fergus, ICCV 2015, keep the camera and change the scene instead: a zoom by s is the same
scene at depth z / s. What that does to its values, a task tells itself.
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

# In place of a row or column: nothing of the stored map lies there.
OUTSIDE = -1


class CameraChange(NamedTuple):
    """What transforms do to the camera: the signs of its axes and its zoom."""

    x: int = 1
    y: int = 1
    zoom: float = 1.0

    def then(self, other: "CameraChange") -> "CameraChange":
        return CameraChange(self.x * other.x, self.y * other.y, self.zoom * other.zoom)


class View(NamedTuple):
    """Which pixels of a map are seen after the transforms, and by which camera.

    Attributes:
        rows: for each row that is seen, the map's; ``OUTSIDE`` is none.
        columns: likewise.
        camera: what has happened to it.
    """

    rows: np.ndarray
    columns: np.ndarray
    camera: CameraChange = CameraChange()

    @classmethod
    def whole(cls, height: int, width: int) -> "View":
        return cls(np.arange(height), np.arange(width))


class StoredMap(NamedTuple):
    """A label map on its way through the transforms.

    The pixels stay where they are and as the file holds them; the task takes those in view, and
    computes values, once at the end.

    Attributes:
        pixels: (C, H, W).
        view: what is seen of them.
    """

    pixels: np.ndarray
    view: View

    @classmethod
    def whole(cls, pixels: np.ndarray) -> "StoredMap":
        """All of a file's pixels, (H, W) or (H, W, C)."""
        height, width = pixels.shape[:2]
        planes = np.moveaxis(pixels.reshape(height, width, -1), 2, 0)
        return cls(np.ascontiguousarray(planes), View.whole(height, width))

    def seen(self, unknown: int) -> np.ndarray:
        """The pixels in view, (C, h, w); what lies outside the map has the level ``unknown``."""
        rows, columns, _ = self.view
        seen = np.take(np.take(self.pixels, rows, axis=1), columns, axis=2)
        seen[:, rows == OUTSIDE] = unknown
        seen[:, :, columns == OUTSIDE] = unknown
        return seen


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


def crop(crop: CropTransform, view: View) -> View:
    rows = view.rows[crop.y0 : crop.y0 + crop.h]
    columns = view.columns[crop.x0 : crop.x0 + crop.w]
    return View(rows, columns, view.camera.then(crop_zoom(crop)))


def pad(pad: PadTransform, view: View) -> View:
    rows = np.pad(view.rows, (pad.y0, pad.y1), constant_values=OUTSIDE)
    columns = np.pad(view.columns, (pad.x0, pad.x1), constant_values=OUTSIDE)
    return View(rows, columns, view.camera.then(pad_zoom(pad)))


def resize(resize: ResizeTransform | ScaleTransform, view: View) -> View:
    """The pixel that holds each new pixel's centre: known and unknown pixels never mix."""
    rows = view.rows[_nearest(len(view.rows), resize.new_h)]
    return View(rows, view.columns[_nearest(len(view.columns), resize.new_w)], view.camera)


def flip_across(flip: HFlipTransform, view: View) -> View:
    return View(view.rows, view.columns[::-1], view.camera.then(CameraChange(x=-1)))


def flip_over(flip: VFlipTransform, view: View) -> View:
    return View(view.rows[::-1], view.columns, view.camera.then(CameraChange(y=-1)))


def _nearest(old: int, new: int) -> np.ndarray:
    return (2 * np.arange(new) + 1) * old // (2 * new)


# What each transform does to a view. Transforms that stand neither here nor in COLOR_ONLY have no
# rule, and Task.transform refuses them.
GEOMETRIC: dict[type[Transform], Callable[[Transform, View], View]] = {
    CropTransform: crop,
    PadTransform: pad,
    ResizeTransform: resize,
    ScaleTransform: resize,
    HFlipTransform: flip_across,
    VFlipTransform: flip_over,
}
COLOR_ONLY = (NoOpTransform, BlendTransform, ColorTransform)


def register_map_type(name: str) -> None:
    """Gives the transforms ``apply_<name>`` for a ``View``."""
    for transform, rule in GEOMETRIC.items():
        transform.register_type(name, rule)
    for transform in COLOR_ONLY:
        transform.register_type(name, lambda transform, view: view)
