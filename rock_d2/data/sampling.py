"""What an image's transforms do to it, as numbers that a device can follow (device_images.py).

Crops, padding, resizes and flips treat rows and columns apart, and colours follow from one pixel
each. So nothing of the image but its size is needed to know what will become of it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    VFlipTransform,
)
from PIL import Image

from rock_d2.data.augmentation import LEVELS, LevelTables
from rock_d2.tasks.geometry import OUTSIDE

# Pillow's resize of uint8 computes with weights in units of 2^-22 (its Resample.c).
WEIGHT_BITS = 22

UNCHANGED = LevelTables(before=LEVELS[0], hsv=None, after=LEVELS[0])


class Axis(NamedTuple):
    """How the rows, or the columns, of an image come from those of a stored one.

    Attributes:
        source: (L',) the stored image's; ``OUTSIDE`` is none.
        taps: (L, K) places in ``source`` that each row is a weighted mean of.
        weights: int32 (L, K), in units of 2^-22.
        resized: whether weights are there; else taps are all places, one by one.
    """

    source: np.ndarray
    taps: np.ndarray
    weights: np.ndarray
    resized: bool = False

    @classmethod
    def whole(cls, length: int) -> "Axis":
        return cls._of(np.arange(length))

    @classmethod
    def _of(cls, source: np.ndarray) -> "Axis":
        one = np.full((len(source), 1), 1 << WEIGHT_BITS, dtype=np.int32)
        return cls(source, np.arange(len(source))[:, None], one)

    def part(self, chosen: slice) -> "Axis":
        if not self.resized:
            return self._of(self.source[chosen])
        return self._replace(taps=self.taps[chosen], weights=self.weights[chosen])

    def padded(self, before: int, after: int) -> "Axis":
        _refuse_unless(not self.resized, "padding after a resize")
        return self._of(np.pad(self.source, (before, after), constant_values=OUTSIDE))

    def within(self) -> "Axis":
        """The same with one place outside, whatever their number."""
        inside = self.source != OUTSIDE
        if inside.all():
            return self
        places = np.where(inside, inside.cumsum() - 1, inside.sum())
        source = np.append(self.source[inside], OUTSIDE)
        return self._replace(source=source, taps=places[self.taps])

    def resize(self, length: int) -> "Axis":
        _refuse_unless(not self.resized, "a second resize")
        return Axis(self.source, *bilinear_taps(len(self.source), length), resized=True)


@lru_cache(maxsize=2048)
def bilinear_taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Taps and weights, (new, K), of Pillow's antialiased bilinear resize from old to new."""
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = (centres - support + 0.5).astype(int).clip(min=0)
    end = (centres + support + 0.5).astype(int).clip(max=old)
    taps = first[:, None] + np.arange((end - first).max())
    weights = (1 - np.abs((taps - centres[:, None] + 0.5) * (1 / support))).clip(min=0)
    weights[taps >= end[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.int32(0.5 + weights * (1 << WEIGHT_BITS))
    return taps.clip(max=old - 1), fixed


class Sampling(NamedTuple):
    """What becomes of an image.

    Attributes:
        rows, columns: where each comes from.
        fill: the colour outside, (3,); None where nothing is.
        colours: of one pixel each, at the end.
    """

    rows: Axis
    columns: Axis
    fill: tuple[int, ...] | None = None
    colours: LevelTables = UNCHANGED

    @classmethod
    def whole(cls, height: int, width: int) -> "Sampling":
        return cls(Axis.whole(height), Axis.whole(width))

    @property
    def size(self) -> tuple[int, int]:
        return len(self.rows.taps), len(self.columns.taps)


class UnseenImage(T.AugInput):
    """What augmentations see of an image in place of it: its size, and the boxes.

    ``sampling`` follows the transforms. Augmentations that look at pixels find black ones, which
    cannot be written to.
    """

    def __init__(self, height: int, width: int):
        self.sampling = Sampling.whole(height, width)
        self.boxes = np.zeros((0, 4))

    @property
    def image(self) -> np.ndarray:
        return np.broadcast_to(np.uint8(0), (*self.sampling.size, 3))

    def transform(self, tfm: Transform) -> None:
        apply = getattr(tfm, "apply_sampling", None)
        _refuse_unless(apply is not None, type(tfm).__name__)
        self.sampling = apply(self.sampling)
        self.boxes = tfm.apply_box(self.boxes)


def _crop(crop: CropTransform, sampling: Sampling) -> Sampling:
    rows = sampling.rows.part(slice(crop.y0, crop.y0 + crop.h))
    columns = sampling.columns.part(slice(crop.x0, crop.x0 + crop.w))
    return sampling._replace(rows=rows, columns=columns)


def _pad(pad: PadTransform, sampling: Sampling) -> Sampling:
    fill = getattr(pad, "fill", (pad.pad_value,) * 3)
    # Rounded as OpenCV's copyMakeBorder does it.
    fill = tuple(int(level) for level in np.round(fill).clip(0, 255))
    _refuse_unless(sampling.fill in (None, fill), "padding with a second colour")
    _refuse_unless(sampling.colours is UNCHANGED, "padding after colours")
    rows = sampling.rows.padded(pad.y0, pad.y1)
    return sampling._replace(rows=rows, columns=sampling.columns.padded(pad.x0, pad.x1), fill=fill)


def _resize(resize: T.ResizeTransform, sampling: Sampling) -> Sampling:
    _refuse_unless(resize.interp == Image.BILINEAR, "a resize that is not bilinear")
    _refuse_unless(sampling.colours is UNCHANGED, "a resize after colours")
    rows = sampling.rows.resize(resize.new_h)
    return sampling._replace(rows=rows, columns=sampling.columns.resize(resize.new_w))


def _flip_across(flip: HFlipTransform, sampling: Sampling) -> Sampling:
    return sampling._replace(columns=sampling.columns.part(slice(None, None, -1)))


def _flip_over(flip: VFlipTransform, sampling: Sampling) -> Sampling:
    return sampling._replace(rows=sampling.rows.part(slice(None, None, -1)))


def _change_colours(change: T.ColorTransform, sampling: Sampling) -> Sampling:
    _refuse_unless(hasattr(change.op, "tables"), f"ColorTransform({change.op})")
    old, new = sampling.colours, change.op.tables()
    _refuse_unless(old.hsv is None or new.hsv is None, "a second change of hue or saturation")
    if new.hsv is None:
        change_of_levels = chained(new.before, new.after)
        field = "before" if old.hsv is None else "after"
        levels = chained(getattr(old, field), change_of_levels)
        return sampling._replace(colours=old._replace(**{field: levels}))
    return sampling._replace(colours=new._replace(before=chained(old.before, new.before)))


def chained(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The table, (256, 3), of one after the other."""
    return np.take_along_axis(second, first.astype(np.intp), axis=0)


def _refuse_unless(possible: bool, what: str) -> None:
    if not possible:
        raise NotImplementedError(
            f"{what}: is not done on a device; set DATALOADER.AUGMENT_ON: host"
        )


RULES: dict[type[Transform], Callable[[Any, Sampling], Sampling]] = {
    CropTransform: _crop,
    PadTransform: _pad,
    T.ResizeTransform: _resize,
    HFlipTransform: _flip_across,
    VFlipTransform: _flip_over,
    T.ColorTransform: _change_colours,
    NoOpTransform: lambda transform, sampling: sampling,
}
for _transform, _rule in RULES.items():
    _transform.register_type("sampling", _rule)
