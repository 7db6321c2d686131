"""Disparity: pixels between the two images of a point in a stereo pair, 0 where unknown."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from detectron2.data import Metadata

from rock_d2.layers import resize
from rock_d2.tasks.base import TASK_REGISTRY, ColourScale, Drawing, rgb_colours
from rock_d2.tasks.depth import berhu_loss
from rock_d2.tasks.geometry import CameraChange
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter

# uint16 reaches 256 pixels; Cityscapes and KITTI have the same steps.
UNITS_PER_PIXEL = 256


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Disparity(MapTask):
    """Disparity estimation, "with the same configuration as for depth estimation" (ROCK, sec. 4.4).

    The network's map is the logarithm of the disparity in pixels of the image as it is stored. Of a
    point at depth Z, cameras of focal length f at a distance b see the disparity d = f b / Z, so
    ln d = ln(f b) - ln Z: an error of the one is an error of the other, and so is the loss.

    Attributes:
        channels: the encoding's width, depth's (supplement, sec. 1).
        berhu_fraction: the loss turns quadratic at this fraction of the batch's largest error.
        min_disparity: pixels; smaller targets count as this, so that the logarithm is bounded, and
            so do smaller predictions when they are measured.
    """

    name = "disparity"
    field = "disparity_file_name"
    num_outputs = 1
    unit = "pixels of the image as stored"
    stored_type = np.uint16
    unknown_level = 0

    loss_weight: float = 3.0
    channels: int = 128
    berhu_fraction: float = 0.2
    min_disparity: float = 1 / UNITS_PER_PIXEL

    def encode(self, values: np.ndarray) -> np.ndarray:
        return encode_disparity(values)

    def values(self, pixels: torch.Tensor, camera: CameraChange) -> torch.Tensor:
        """Return pixels of the image's width as stored; a zoom by s makes s times as many.

        A crop to 1 / s of the width, shown at the full width, has a focal length of s f in pixels;
        or it shows everything at Z / s to the same camera, as Eigen and Fergus put it. Either way
        d = f b / Z becomes s d. A resize changes nothing: pixels are those of the stored width.
        """
        return pixels.float() * (camera.zoom / UNITS_PER_PIXEL)

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        disparity, known = super().target_maps(target, size)
        return disparity.clamp(min=self.min_disparity).log(), known

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logarithm, known = self.target_maps(target, prediction.shape[-2:])
        error = torch.where(known, prediction.float() - logarithm, 0)
        return berhu_loss(error, known, fraction=self.berhu_fraction)

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return the disparity in pixels of the stored image, fp32 (1, H, W)."""
        return resize(prediction[None], output_size)[0].exp()

    def meter(self) -> Meter:
        return DisparityMeter(floor=self.min_disparity)

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw near in red, far in blue, unknown in black; a reference gives the scale."""
        spanning = values if reference is None else reference
        largest = float(spanning.max(initial=1 / UNITS_PER_PIXEL))
        spectrum = rgb_colours(cv2.COLORMAP_TURBO)
        colours = spectrum[np.uint8(255 * (values / largest).clip(0, 1))]
        scale = ColourScale("0 pixels", f"{largest:.0f} pixels", spectrum)
        return Drawing("disparity", np.where(values[..., None] > 0, colours, 0), scale)


class DisparityMeter(Meter):
    """Errors of Eigen et al., NIPS 2014, and of KITTI 2015, pooled over the known pixels."""

    # A pixel is wrong if its error is above both (Menze and Geiger, CVPR 2015): pixels, and share
    # of the true disparity.
    WRONG = (3, 0.05)

    def __init__(self, *, floor: float):
        self.floor = floor

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        known = label > 0
        target = label[known].astype(np.float64)
        found = prediction[0][known].astype(np.float64).clip(min=self.floor)
        error = np.abs(found - target)
        wrong = (error > self.WRONG[0]) & (error > self.WRONG[1] * target)
        log_squares = np.square(np.log(found / target)).sum()
        sums = (error.sum(), np.square(error).sum(), log_squares, (error / target).sum())
        return np.array([target.size, *sums, wrong.sum()], dtype=np.float64)

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        mean_abs, squares, log_squares, abs_rel, wrong = total[1:] / total[0]
        return {
            "mean_abs": mean_abs,
            "rmse": np.sqrt(squares),
            "rmse_log": np.sqrt(log_squares),
            "abs_rel": abs_rel,
            "d1": wrong,
        }


def encode_disparity(disparity: np.ndarray) -> np.ndarray:
    """Convert float pixels (H, W) to the uint16 steps that files hold."""
    steps = np.round(disparity.astype(np.float64) * UNITS_PER_PIXEL)
    if not (steps >= 0).all() or steps.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("disparity: negative, NaN or beyond 255.9 pixels; unknown must be 0")
    return steps.astype(np.uint16)
