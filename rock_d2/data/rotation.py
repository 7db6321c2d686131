"""The random rotations and zooms of dense multi-task training (MTI-Net)."""

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.data import transforms as T


class RandomRotation(T.Augmentation):
    """Rotate and zoom an image about its centre; its size stays."""

    def __init__(self, *, degrees: Sequence[float], scales: Sequence[float], sampling: str):
        if sampling not in ("range", "choice"):
            raise ValueError(f"INPUT.ROTATION.SAMPLING is {sampling!r}; it must be range or choice")
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
        return RotationZoomTransform(*image.shape[:2], angle, scale)


class RotationZoomTransform(T.RotationTransform):
    """Detectron2's rotation about the centre with a zoom, and with bicubic interpolation.

    The corners that come from outside of the image are black.
    """

    def __init__(self, h: int, w: int, angle: float, scale: float):
        super().__init__(h, w, angle, expand=False, interp=cv2.INTER_CUBIC)
        self.scale = scale
        for matrix, offset in ((self.rm_coords, 0), (self.rm_image, -0.5)):
            centre = (w / 2 + offset, h / 2 + offset)
            matrix[:] = cv2.getRotationMatrix2D(centre, angle, scale)

    # Detectron2's two methods do nothing if the angle is 0.
    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        flags = self.interp if interp is None else interp
        return cv2.warpAffine(img, self.rm_image, (self.w, self.h), flags=flags)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return np.asarray(coords, dtype=float) @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]
