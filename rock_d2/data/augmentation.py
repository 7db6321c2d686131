"""The paper's augmentation (supplement, sec. 2) as Detectron2 augmentations.

Order: zoom-out, crop, rotation, resize, flip, colour. Each task's file says what a geometric
transform does to its labels (``Transform.register_type``).
"""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform, PadTransform, Transform
from PIL import Image
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from rock_d2.registry import check_choice

# Principal components of the RGB values of ImageNet, columns of unit length and deviations for
# values in [0, 1]: Krizhevsky et al., NIPS 2012, sec. 4.1.
RGB_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
RGB_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Return the augmentations that a config asks for; at test time only the resize."""
    # Detectron2's resize by the shorter edge and, in training, its flip.
    resize, *flip = detection_utils.build_augmentation(cfg, is_train)
    if len(cfg.INPUT.SIZE) not in (0, 2):
        raise ValueError(f"INPUT.SIZE is {cfg.INPUT.SIZE}; it must be [height, width] or []")
    if cfg.INPUT.SIZE:
        resize = T.Resize(tuple(cfg.INPUT.SIZE))
    if not is_train:
        return [resize]
    expand, crop, color = cfg.INPUT.EXPAND, cfg.INPUT.MIN_IOU_CROP, cfg.INPUT.COLOR_AUG
    rgb = cfg.INPUT.FORMAT == "RGB"
    before, after = [], []
    if expand.ENABLED:
        fill = tuple(cfg.MODEL.PIXEL_MEAN)
        before.append(ZoomOut(fill=fill, max_ratio=expand.MAX_RATIO, prob=expand.PROB))
    if crop.ENABLED:
        min_ious = tuple(crop.MIN_IOUS)
        before.append(MinIoUCrop(min_ious=min_ious, min_area=crop.MIN_AREA, trials=crop.TRIALS))
    if cfg.INPUT.CROP.ENABLED:
        before.append(T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    if (turn := cfg.INPUT.ROTATION).ENABLED:
        before.append(
            RandomRotation(
                degrees=turn.DEGREES,
                scales=turn.SCALES,
                sampling=turn.SAMPLING,
                background_corners=turn.BACKGROUND_CORNERS,
            )
        )
    if color.LIGHTING > 0:
        after.append(Lighting(scale=color.LIGHTING, rgb=rgb))
    if color.DISTORTION:
        after.append(ColorDistortion(rgb=rgb))
    return [*before, resize, *flip, *after]


class MinIoUCrop(T.Augmentation):
    """SSD's random crop (SSD, sec. 2.2), at the image's own aspect ratio (supplement, sec. 2).

    One of these, with equal chance: the whole image; any crop; a crop whose IoU with some object
    is at least one of ``min_ious``. An object counts only if its centre is inside.
    """

    def __init__(self, *, min_ious: tuple[float, ...], min_area: float, trials: int):
        if not 0 < min_area <= 1:
            raise ValueError(f"INPUT.MIN_IOU_CROP.MIN_AREA is {min_area}; it must be in (0, 1]")
        if trials < 1:
            raise ValueError(f"INPUT.MIN_IOU_CROP.TRIALS is {trials}; it must be positive")
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        option = np.random.randint(len(self.min_ious) + 2)
        if option == 0:
            return NoOpTransform()
        crops = self._sample(height, width)
        if len(boxes):
            min_iou = (0.0, *self.min_ious)[option - 1]
            # Strictly more than no overlap, so that every crop but of an empty image has an object.
            crops = crops[best_ious(crops, boxes) >= max(min_iou, 1e-6)]
        if not len(crops):
            return NoOpTransform()
        x0, y0, x1, y1 = map(int, crops[0])
        return CropTransform(x0, y0, x1 - x0, y1 - y0, orig_w=width, orig_h=height)

    def _sample(self, height: int, width: int) -> np.ndarray:
        """Return (trials, 4) whole-pixel crops, x0 y0 x1 y1, whose share of the area is uniform."""
        sides = np.sqrt(np.random.uniform(self.min_area, 1, self.trials))
        sizes = np.round(sides[:, None] * (width, height)).astype(int).clip(1)
        origins = np.random.randint(0, np.array((width, height)) - sizes + 1)
        return np.hstack([origins, origins + sizes])


def best_ious(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the largest IoU of each crop with a box whose centre it holds; 0 if it holds none."""
    top_left = np.maximum(crops[:, None, :2], boxes[None, :, :2])
    bottom_right = np.minimum(crops[:, None, 2:], boxes[None, :, 2:])
    shared = (bottom_right - top_left).clip(0).prod(axis=2)
    areas = (crops[:, 2:] - crops[:, :2]).prod(axis=1)[:, None]
    ious = shared / (areas + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared)
    return (ious * centres_inside(crops, boxes)).max(axis=1)


def centres_inside(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return bool (crops, boxes): whether the crop holds the centre of the box (SSD, sec. 2.2)."""
    centres = (boxes[None, :, :2] + boxes[None, :, 2:]) / 2
    return ((centres >= crops[:, None, :2]) & (centres <= crops[:, None, 2:])).all(axis=2)


class ZoomOut(T.Augmentation):
    """Set the image at a random place of a larger canvas of one colour (SSD, sec. 3.6)."""

    def __init__(self, *, fill: tuple[float, ...], max_ratio: float, prob: float):
        if max_ratio < 1:
            raise ValueError(f"INPUT.EXPAND.MAX_RATIO is {max_ratio}; it must be 1 or more")
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.uniform() >= self.prob:
            return NoOpTransform()
        height, width = image.shape[:2]
        more = np.random.uniform(0, self.max_ratio - 1)
        extra_w, extra_h = round(width * more), round(height * more)
        left, top = np.random.randint(0, extra_w + 1), np.random.randint(0, extra_h + 1)
        return ZoomOutTransform(
            left, top, extra_w - left, extra_h - top, orig_w=width, orig_h=height, fill=self.fill
        )


class ZoomOutTransform(PadTransform):
    """A ``PadTransform`` whose image is padded with a colour instead of a single level."""

    def __init__(
        self, x0: int, y0: int, x1: int, y1: int, *, orig_w: int, orig_h: int, fill: tuple
    ):
        super().__init__(x0, y0, x1, y1, orig_w=orig_w, orig_h=orig_h)
        self.fill = fill

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(
            img, self.y0, self.y1, self.x0, self.x1, cv2.BORDER_CONSTANT, value=self.fill
        )


class RandomRotation(T.Augmentation):
    """Rotate and zoom an image about its centre; its size stays."""

    def __init__(
        self,
        *,
        degrees: Sequence[float],
        scales: Sequence[float],
        sampling: str,
        background_corners: bool = False,
    ):
        check_choice(sampling, ("range", "choice"), setting="INPUT.ROTATION.SAMPLING")
        for name, values in (("DEGREES", degrees), ("SCALES", scales)):
            if not values or (sampling == "range" and len(values) != 2):
                raise ValueError(
                    f"INPUT.ROTATION.{name} is {list(values)}; it must be [least, largest], or "
                    "with SAMPLING choice a list"
                )
        if min(scales) <= 0:
            raise ValueError(f"INPUT.ROTATION.SCALES is {list(scales)}; they must be positive")
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        if self.sampling == "choice":
            angle, scale = map(float, map(np.random.choice, (self.degrees, self.scales)))
        else:
            angle, scale = np.random.uniform(*self.degrees), np.random.uniform(*self.scales)
        if angle == 0 and scale == 1:
            return T.NoOpTransform()
        height, width = image.shape[:2]
        return RotationZoomTransform(
            height, width, angle, scale, background_corners=self.background_corners
        )


class RotationZoomTransform(T.RotationTransform):
    """Detectron2's rotation about the centre with a zoom, and with bicubic interpolation.

    The corners that come from outside of the image are black, and their labels unknown; with
    ``background_corners`` they are background in maps of classes.
    """

    def __init__(
        self, h: int, w: int, angle: float, scale: float, *, background_corners: bool = False
    ):
        super().__init__(h, w, angle, expand=False, interp=cv2.INTER_CUBIC)
        self.scale, self.background_corners = scale, background_corners
        for matrix, offset in ((self.rm_coords, 0), (self.rm_image, -0.5)):
            centre = (w / 2 + offset, h / 2 + offset)
            matrix[:] = cv2.getRotationMatrix2D(centre, angle, scale)

    # Detectron2's two methods do nothing if the angle is 0.
    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        flags = self.interp if interp is None else interp
        return cv2.warpAffine(img, self.rm_image, (self.w, self.h), flags=flags)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return np.asarray(coords, dtype=float) @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]


class Lighting(T.Augmentation):
    """Add a random multiple of each principal component of natural colours.

    Krizhevsky et al., NIPS 2012, sec. 4.1. Detectron2's RandomLighting takes pixels in [0, 1],
    RGB; ours are in [0, 255] and in the model's channel order.
    """

    def __init__(self, *, scale: float, rgb: bool):
        super().__init__()
        self._init(locals())

    def get_transform(self) -> Transform:
        weights = np.random.normal(scale=self.scale, size=3)
        shift = 255 * RGB_COMPONENTS @ (weights * RGB_DEVIATIONS)
        shift = shift if self.rgb else shift[::-1]
        # Rounded and saturated.
        return T.ColorTransform(lambda image: cv2.add(image, (*shift, 0.0)))


class ColorDistortion(T.Augmentation):
    """SSD's photometric distortions (SSD, sec. 2.2), as torchvision has them.

    Each happens with chance 1/2: brightness x [0.875, 1.125], contrast and saturation x
    [0.5, 1.5], hue +- 0.05 turns, and contrast comes before saturation and hue or after them.
    """

    def __init__(self, *, rgb: bool):
        super().__init__()
        self._init(locals())

    def get_transform(self) -> Transform:
        happens = np.random.uniform(size=5) < 0.5
        contrast = (adjust_contrast, np.random.uniform(0.5, 1.5) ** happens[1])
        steps = [(adjust_saturation, np.random.uniform(0.5, 1.5) ** happens[2])]
        hue = np.random.uniform(-0.05, 0.05)
        # Other colours come back changed a little even from no change of the hue.
        steps += [(adjust_hue, hue)] if happens[3] else []
        steps.insert(0 if happens[4] else len(steps), contrast)
        steps.insert(0, (adjust_brightness, np.random.uniform(0.875, 1.125) ** happens[0]))
        return T.ColorTransform(partial(distort, steps=steps, rgb=self.rgb))


def distort(image: np.ndarray, *, steps: Sequence[tuple[Callable, float]], rgb: bool) -> np.ndarray:
    """Return a uint8 image after torchvision's functions, each with its amount."""
    pixels = Image.fromarray(np.ascontiguousarray(image if rgb else image[..., ::-1]))
    for adjust, amount in steps:
        pixels = adjust(pixels, float(amount))
    return np.array(pixels) if rgb else np.array(pixels)[..., ::-1]
