"""Depth: metres along the optical axis, 0 where unknown."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from detectron2.data import Metadata

from rock_d2.layers import known_mean, max_over_processes, resize
from rock_d2.registry import check_choice
from rock_d2.tasks.base import TASK_REGISTRY, ColourScale, Drawing, rgb_colours, setting
from rock_d2.tasks.geometry import CameraChange
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter

# uint16 millimetres reach 65 m at a step far below any sensor's noise.
UNITS_PER_METRE = 1000


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Depth(MapTask):
    """Depth estimation by a reverse Huber loss in log space (ROCK, sec. 3.1), or by L1 in metres.

    The network's map is the logarithm of the depth in metres, or the depth itself.

    Attributes:
        loss_name: "berhu_log", or "l1" (MTI-Net, sec. 4.1).
        channels: K_depth, the encoding's width (supplement, sec. 1).
        berhu_fraction: the loss turns quadratic at this fraction of the batch's largest error
            (Laina et al., 3DV 2016, sec. 3.2).
        min_depth: metres; nearer targets count as this, so that the logarithm is bounded, and so
            do nearer predictions in logarithms and ratios when they are measured.
        eval_cap: metres; when measured, farther labels do not count and farther predictions count
            as this. 0 is no cap.
    """

    name = "depth"
    field = "depth_file_name"
    num_outputs = 1
    unit = "metres"
    stored_type = np.uint16
    unknown_level = 0

    loss_weight: float = 3.0
    loss_name: str = setting("berhu_log", key="LOSS")
    channels: int = 128
    berhu_fraction: float = 0.2
    min_depth: float = 0.001
    eval_cap: float = 0.0

    def __post_init__(self) -> None:
        check_choice(self.loss_name, ("berhu_log", "l1"), setting="MODEL.TASKS.DEPTH.LOSS")
        if self.eval_cap < 0:
            raise ValueError(f"MODEL.TASKS.DEPTH.EVAL_CAP is {self.eval_cap}; 0 is none")

    @property
    def is_logarithm(self) -> bool:
        return self.loss_name == "berhu_log"

    def encode(self, values: np.ndarray) -> np.ndarray:
        return encode_depth(values)

    def values(self, pixels: torch.Tensor, camera: CameraChange) -> torch.Tensor:
        """Return metres; a zoom by s brings everything s times nearer, flips change nothing."""
        return pixels.float() / (UNITS_PER_METRE * camera.zoom)

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        depth, known = super().target_maps(target, size)
        return depth.clamp(min=self.min_depth).log() if self.is_logarithm else depth, known

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        depth, known = self.target_maps(target, prediction.shape[-2:])
        error = torch.where(known, prediction.float() - depth, 0)
        if not self.is_logarithm:
            return known_mean(error.abs(), known)
        return berhu_loss(error, known, fraction=self.berhu_fraction)

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return metres, fp32 (1, H, W)."""
        depth = resize(prediction[None], output_size)[0]
        return depth.exp() if self.is_logarithm else depth

    def meter(self) -> Meter:
        return DepthMeter(floor=self.min_depth, cap=self.eval_cap or float("inf"))

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw near in red, far in blue, unknown in black; a reference gives the scale."""
        spanning = values if reference is None else reference
        known = spanning[spanning > 0]
        if not known.size:
            return Drawing("depth unknown", np.zeros((*values.shape, 3), np.uint8))
        near, far = float(known.min()), float(known.max())
        distance = np.uint8(255 * ((values - near) / max(far - near, 1e-6)).clip(0, 1))
        spectrum = rgb_colours(cv2.COLORMAP_TURBO)[::-1]
        scale = ColourScale(f"{near:.1f} m", f"{far:.1f} m", spectrum)
        return Drawing("depth", np.where(values[..., None] > 0, spectrum[distance], 0), scale)


class DepthMeter(Meter):
    """The errors of Eigen et al., NIPS 2014, pooled over the known pixels of all images."""

    RATIOS = (1.25, 1.25**2, 1.25**3)

    def __init__(self, *, floor: float, cap: float):
        self.floor = floor
        self.cap = cap

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        known = (label > 0) & (label <= self.cap)
        target = label[known].astype(np.float64)
        found = prediction[0][known].astype(np.float64).clip(max=self.cap)
        error, found = found - target, found.clip(self.floor)
        ratio = np.maximum(found / target, target / found)
        return np.array(
            [
                target.size,
                np.square(error).sum(),
                np.square(np.log(found / target)).sum(),
                (np.abs(error) / target).sum(),
                (np.square(error) / target).sum(),
                *((ratio < bound).sum() for bound in self.RATIOS),
            ]
        )

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        pixels, squares, log_squares, abs_rel, sq_rel, *within = total
        return {
            "rmse": np.sqrt(squares / pixels),
            "rmse_log": np.sqrt(log_squares / pixels),
            "abs_rel": abs_rel / pixels,
            "sq_rel": sq_rel / pixels,
            **{f"delta{i}": count / pixels for i, count in enumerate(within, start=1)},
        }


def berhu_loss(error: torch.Tensor, known: torch.Tensor, *, fraction: float) -> torch.Tensor:
    """Return the reverse Huber loss: |e| up to a threshold c, (e^2 + c^2) / 2c beyond.

    It is the mean over ``known``; where not known, e is 0. c is a ``fraction`` of the batch's
    largest |e|.
    """
    size = error.abs()
    threshold = (fraction * max_over_processes(size.max())).clamp(min=1e-6)
    loss = torch.where(size <= threshold, size, (error**2 + threshold**2) / (2 * threshold))
    return known_mean(loss, known)


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Convert float metres (H, W) to the uint16 millimetres that files hold."""
    millimetres = np.round(depth.astype(np.float64) * UNITS_PER_METRE)
    if not (millimetres >= 0).all() or millimetres.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("depth: negative, NaN or beyond 65.535 m; unknown pixels must be 0")
    return millimetres.astype(np.uint16)
