"""The paper's augmentation (supplement, sec. 2) as Detectron2 augmentations.

Order: zoom-out, crop, resize, flip, colour. What each geometric transform does to the labels of a
task is told in the task's own file, by ``Transform.register_type``.
"""

from typing import NamedTuple

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform, PadTransform, Transform

# Principal components of the RGB values of ImageNet, columns of unit length and deviations for
# values in [0, 1]: Krizhevsky et al., NIPS 2012, sec. 4.1.
RGB_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
RGB_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentations that a config asks for; at test time only the resize."""
    resize = T.Resize(tuple(cfg.INPUT.SIZE))
    if not is_train:
        return [resize]
    expand, crop, color = cfg.INPUT.EXPAND, cfg.INPUT.MIN_IOU_CROP, cfg.INPUT.COLOR_AUG
    rgb = cfg.INPUT.FORMAT == "RGB"
    augmentations: list[T.Augmentation] = []
    if expand.ENABLED:
        fill = tuple(cfg.MODEL.PIXEL_MEAN)
        augmentations.append(ZoomOut(fill=fill, max_ratio=expand.MAX_RATIO, prob=expand.PROB))
    if crop.ENABLED:
        min_ious = tuple(crop.MIN_IOUS)
        augmentations.append(
            MinIoUCrop(min_ious=min_ious, min_area=crop.MIN_AREA, trials=crop.TRIALS)
        )
    augmentations.append(resize)
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        augmentations.append(T.RandomFlip(prob=0.5))
    elif cfg.INPUT.RANDOM_FLIP == "vertical":
        augmentations.append(T.RandomFlip(prob=0.5, horizontal=False, vertical=True))
    if color.LIGHTING > 0:
        augmentations.append(Lighting(scale=color.LIGHTING, rgb=rgb))
    if color.DISTORTION:
        augmentations.append(ColorDistortion(rgb=rgb))
    return augmentations


class MinIoUCrop(T.Augmentation):
    """SSD's random crop (SSD, sec. 2.2), at the image's own aspect ratio (supplement, sec. 2).

    One of these, with equal chance: the whole image; any crop; a crop whose IoU with some object
    is at least one of ``min_ious``. An object counts only if its centre is inside.
    """

    def __init__(self, *, min_ious: tuple[float, ...], min_area: float, trials: int):
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
        """(trials, 4) whole-pixel crops, x0 y0 x1 y1, whose share of the area is uniform."""
        sides = np.sqrt(np.random.uniform(self.min_area, 1, self.trials))
        sizes = np.round(sides[:, None] * (width, height)).astype(int).clip(1)
        origins = np.random.randint(0, np.array((width, height)) - sizes + 1)
        return np.hstack([origins, origins + sizes])


def best_ious(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The largest IoU of each crop with a box whose centre it holds; 0 if it holds none."""
    top_left = np.maximum(crops[:, None, :2], boxes[None, :, :2])
    bottom_right = np.minimum(crops[:, None, 2:], boxes[None, :, 2:])
    shared = (bottom_right - top_left).clip(0).prod(axis=2)
    areas = (crops[:, 2:] - crops[:, :2]).prod(axis=1)[:, None]
    ious = shared / (areas + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared)
    return (ious * centres_inside(crops, boxes)).max(axis=1)


def centres_inside(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool (crops, boxes): SSD keeps an object whose centre lies in the crop (SSD, sec. 2.2)."""
    centres = (boxes[None, :, :2] + boxes[None, :, 2:]) / 2
    return ((centres >= crops[:, None, :2]) & (centres <= crops[:, None, 2:])).all(axis=2)


class ZoomOut(T.Augmentation):
    """Sets the image at a random place of a larger canvas of one colour (SSD, sec. 3.6)."""

    def __init__(self, *, fill: tuple[float, ...], max_ratio: float, prob: float):
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
        self,
        x0: int,
        y0: int,
        x1: int,
        y1: int,
        orig_w: int,
        orig_h: int,
        fill: tuple[float, ...],
    ):
        super().__init__(x0, y0, x1, y1, orig_w=orig_w, orig_h=orig_h)
        self.fill = fill

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(
            img, self.y0, self.y1, self.x0, self.x1, cv2.BORDER_CONSTANT, value=self.fill
        )


class LevelTables(NamedTuple):
    """A change of colours as tables, uint8 (256, 3), of what each level becomes.

    Attributes:
        before: in the image's own channels.
        hsv: then in OpenCV's HSV with 180 hues; None does not go there.
        after: then, back in the image's channels.
    """

    before: np.ndarray
    hsv: np.ndarray | None
    after: np.ndarray


# Each level in each of three channels, as an image.
LEVELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)[None]


class Lighting(T.Augmentation):
    """Adds a random multiple of each principal component of natural colours.

    Krizhevsky et al., NIPS 2012, sec. 4.1. Detectron2's RandomLighting takes pixels in [0, 1],
    RGB; ours are in [0, 255] and in the model's channel order.
    """

    def __init__(self, *, scale: float, rgb: bool):
        super().__init__()
        self._init(locals())

    def get_transform(self) -> Transform:
        weights = np.random.normal(scale=self.scale, size=3)
        shift = 255 * RGB_COMPONENTS @ (weights * RGB_DEVIATIONS)
        return T.ColorTransform(ColorShift(*(shift if self.rgb else shift[::-1])))


class ColorShift(NamedTuple):
    """Adds one value to each channel of a uint8 image, rounded and saturated."""

    first: float
    second: float
    third: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return cv2.add(image, (*self, 0.0))

    def tables(self) -> LevelTables:
        return LevelTables(before=self(LEVELS)[0], hsv=None, after=LEVELS[0])


class ColorDistortion(T.Augmentation):
    """SSD's photometric distortions (SSD, sec. 2.2; ranges of its released training script).

    Each happens with chance 1/2: brightness +- 32, contrast and saturation x [0.5, 1.5], hue
    +- 18 of OpenCV's 180, and contrast comes before saturation and hue or after them.
    """

    def __init__(self, *, rgb: bool):
        super().__init__()
        self._init(locals())

    def get_transform(self) -> Transform:
        happens = np.random.uniform(size=5) < 0.5
        distortion = Distortion(
            brightness=np.random.uniform(-32, 32) * happens[0],
            contrast=np.random.uniform(0.5, 1.5) ** happens[1],
            saturation=np.random.uniform(0.5, 1.5) ** happens[2],
            hue=round(np.random.uniform(-18, 18) * happens[3]),
            contrast_first=bool(happens[4]),
            rgb=self.rgb,
        )
        return T.ColorTransform(distortion)


class Distortion(NamedTuple):
    """SSD's distortions of a uint8 image, each step rounded to uint8 as OpenCV does."""

    brightness: float
    contrast: float
    saturation: float
    hue: int
    contrast_first: bool
    rgb: bool

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image, table = self._before(image), self._hsv_table()
        if table is not None:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2HSV if self.rgb else cv2.COLOR_BGR2HSV)
            image = cv2.LUT(image, table[None])
            image = cv2.cvtColor(image, cv2.COLOR_HSV2RGB if self.rgb else cv2.COLOR_HSV2BGR)
        return self._after(image)

    def tables(self) -> LevelTables:
        return LevelTables(self._before(LEVELS)[0], self._hsv_table(), self._after(LEVELS)[0])

    def _before(self, image: np.ndarray) -> np.ndarray:
        image = (
            cv2.convertScaleAbs(image, beta=self.brightness)
            if self.brightness > 0
            else cv2.subtract(image, (-self.brightness,) * 3 + (0.0,))
        )
        return cv2.convertScaleAbs(image, alpha=self.contrast) if self.contrast_first else image

    def _hsv_table(self) -> np.ndarray | None:
        if self.saturation == 1 and self.hue == 0:
            return None
        levels = np.arange(256)
        scaled = np.round(levels * self.saturation).clip(max=255)
        return np.uint8(np.stack([(levels + self.hue) % 180, scaled, levels], axis=1))

    def _after(self, image: np.ndarray) -> np.ndarray:
        return image if self.contrast_first else cv2.convertScaleAbs(image, alpha=self.contrast)
