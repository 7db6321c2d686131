"""How label maps follow Detectron2's transforms: one rule for each transform.

The network sees images of one size, so what counts is the focal length in units of the image's
width: a crop makes it longer (the camera zooms in), padding makes it shorter, a resize leaves it.
Eigen and Fergus, ICCV 2015, keep the camera and change the scene instead: a zoom by s is the same
scene at depth z / s. Each task's ``values`` says what that does to its values.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from detectron2.data.transforms import ColorTransform, ResizeTransform, RotationTransform
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

from rock_d2.tasks.thinning import thin


class CameraChange(NamedTuple):
    """The effect of transforms on the camera.

    Attributes:
        x, y: the new components (in the image's plane) of a vector, in terms of its old ones.
        zoom: factor of the focal length.
    """

    x: tuple[float, float] = (1, 0)
    y: tuple[float, float] = (0, 1)
    zoom: float = 1.0

    def then(self, other: "CameraChange") -> "CameraChange":
        x, y = (np.array([other.x, other.y]) @ np.array([self.x, self.y])).tolist()
        return CameraChange(tuple(x), tuple(y), self.zoom * other.zoom)


class LabelMap(NamedTuple):
    """A label map on its way through the transforms.

    Attributes:
        pixels: (C, H, W), of the file's type.
        unknown: the level of pixels where nothing is known.
        camera: its change since the file was read.
        background: the level of pixels where there is nothing; None if the label has no such level.
    """

    pixels: np.ndarray
    unknown: int
    camera: CameraChange = CameraChange()
    background: int | None = None


def crop(transform: CropTransform, label: LabelMap) -> LabelMap:
    t = transform
    return _zoomed(t, label, label.pixels[:, t.y0 : t.y0 + t.h, t.x0 : t.x0 + t.w])


def pad(transform: PadTransform, label: LabelMap) -> LabelMap:
    borders = ((0, 0), (transform.y0, transform.y1), (transform.x0, transform.x1))
    pixels = np.pad(label.pixels, borders, constant_values=label.unknown)
    return _zoomed(transform, label, pixels)


def resize(transform: ResizeTransform | ScaleTransform, label: LabelMap) -> LabelMap:
    """Take the pixel that holds each new pixel's centre: known and unknown pixels never mix."""
    height, width = label.pixels.shape[1:]
    rows, columns = _nearest(height, transform.new_h), _nearest(width, transform.new_w)
    return label._replace(pixels=label.pixels[:, rows][:, :, columns])


def resize_lines(transform: ResizeTransform | ScaleTransform, label: LabelMap) -> LabelMap:
    """Take 1 where an old pixel of 1 has its centre in the new one, so that no line is lost.

    Other labels are 0, or unknown if all that a new pixel holds is. Enlarged lines stay thin.
    """
    is_line, is_known = label.pixels == 1, label.pixels != label.unknown
    for axis, size in ((1, transform.new_h), (2, transform.new_w)):
        is_line, is_known = _any(is_line, size, axis), _any(is_known, size, axis)
    if transform.new_h > label.pixels.shape[1] or transform.new_w > label.pixels.shape[2]:
        is_line = thin(is_line[0])[None]
    pixels = np.where(is_known, is_line, label.unknown).astype(label.pixels.dtype)
    return label._replace(pixels=pixels)


def flip_horizontally(transform: HFlipTransform, label: LabelMap) -> LabelMap:
    camera = label.camera.then(CameraChange(x=(-1, 0)))
    return label._replace(pixels=label.pixels[:, :, ::-1], camera=camera)


def flip_vertically(transform: VFlipTransform, label: LabelMap) -> LabelMap:
    camera = label.camera.then(CameraChange(y=(0, -1)))
    return label._replace(pixels=label.pixels[:, ::-1], camera=camera)


def rotate(transform: RotationTransform, label: LabelMap) -> LabelMap:
    """Take the nearest pixel; what comes from outside of the image is unknown.

    The transform's matrix may zoom, too. With a true ``transform.background_corners`` the outside
    is background where the label has one.
    """
    matrix, outside = transform.rm_image, label.unknown
    if getattr(transform, "background_corners", False) and label.background is not None:
        outside = label.background
    pixels = cv2.warpAffine(
        label.pixels.transpose(1, 2, 0),
        matrix,
        (transform.bound_w, transform.bound_h),
        flags=cv2.INTER_NEAREST,
        borderValue=(outside,) * 4,
    )
    pixels = np.atleast_3d(pixels).transpose(2, 0, 1)
    zoom = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    x, y = (matrix[:, :2] / zoom).tolist()
    turned = _zoomed(transform, label, pixels)
    change = CameraChange(tuple(x), tuple(y), zoom)
    return turned._replace(camera=turned.camera.then(change))


def rotate_lines(transform: RotationTransform, label: LabelMap) -> LabelMap:
    """Turn lines that are a pixel wide; they stay whole and thin."""
    turned = rotate(transform, label)
    lines = np.float32(label.pixels[0] == 1)
    lines = cv2.warpAffine(lines, transform.rm_image, (transform.bound_w, transform.bound_h))
    # A zoom by 0.75 has no pixel nearer than 2/3 to some lines, where they have 1/3.
    is_line, is_known = thin(lines > 0.33), turned.pixels != label.unknown
    return turned._replace(pixels=np.where(is_known, is_line, turned.pixels).astype(np.uint8))


def leave(transform: Transform, label: LabelMap) -> LabelMap:
    return label


def _zoomed(transform: Transform, label: LabelMap, pixels: np.ndarray) -> LabelMap:
    """Return the label with new pixels of its aspect ratio, by the camera that sees them."""
    (old_height, old_width), (height, width) = label.pixels.shape[1:], pixels.shape[1:]
    # Whole pixels: each side may be half a pixel away from the exact aspect ratio.
    if abs(width * old_height - height * old_width) > 0.5 * (old_width + old_height) + 1e-6:
        raise ValueError(
            f"{transform}: makes {height} x {width} of {old_height} x {old_width} pixels, which "
            "is no zoom; labels follow crops and padding at a fixed aspect ratio only"
        )
    change = CameraChange(zoom=old_width / width)
    return label._replace(pixels=pixels, camera=label.camera.then(change))


def _nearest(old: int, new: int) -> np.ndarray:
    """Return for each of ``new`` pixels along a side the one of ``old`` that holds its centre."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _any(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Return whether any pixel is true of those whose centre each of ``size`` new ones holds."""
    old = pixels.shape[axis]
    if size >= old:
        return pixels.take(_nearest(old, size), axis=axis)
    starts = np.searchsorted(_nearest(size, old), np.arange(size))
    return np.logical_or.reduceat(pixels, starts, axis=axis)


# Transforms that are not listed have no rule, and Task.transform refuses them.
RULES: dict[type[Transform], Callable[[Transform, LabelMap], LabelMap]] = {
    CropTransform: crop,
    PadTransform: pad,
    ResizeTransform: resize,
    ScaleTransform: resize,
    HFlipTransform: flip_horizontally,
    VFlipTransform: flip_vertically,
    RotationTransform: rotate,
    NoOpTransform: leave,
    BlendTransform: leave,
    ColorTransform: leave,
}
