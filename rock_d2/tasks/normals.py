"""Surface normals: unit vectors, x right, y down, z forward, facing the camera; 0 where unknown."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.layers import known_mean, resize
from rock_d2.registry import check_choice
from rock_d2.tasks.base import TASK_REGISTRY, Drawing, setting
from rock_d2.tasks.geometry import CameraChange
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter

# Each component v of a vector is stored as 127 + round(127 v): 0 to 254, and the zero vector of
# an unknown pixel is exactly (127, 127, 127), so no separate mask is needed.
ZERO_LEVEL = 127
# Level 255 is never written.
LEVELS = (np.arange(256, dtype=np.float32) - ZERO_LEVEL) / ZERO_LEVEL
# Rounding changes a length by at most half a step of 1 / 127 in each component.
LENGTH_ERROR = np.sqrt(3) / (2 * ZERO_LEVEL) + 1e-6


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class Normals(MapTask):
    """Surface normal estimation by losses of unit vectors.

    Attributes:
        loss_name: "cosine_l2", dot product and L2 (ROCK, sec. 3.1), or "l1", the mean over the
            components (MTI-Net, sec. 4.1).
        channels: K_normal = 3 K_depth, a block of channels for each component.
        zoom_z: whether a zoom makes z grow; the published code of MTI-Net leaves normals as they
            are.
    """

    name = "normals"
    field = "normals_file_name"
    num_outputs = 3
    unit = "unit vectors: x right, y down, z forward"
    stored_type = np.uint8
    unknown_level = ZERO_LEVEL

    loss_weight: float = 30.0
    loss_name: str = setting("cosine_l2", key="LOSS")
    channels: int = 3 * 128
    zoom_z: bool = True

    def __post_init__(self) -> None:
        check_choice(self.loss_name, ("cosine_l2", "l1"), setting="MODEL.TASKS.NORMALS.LOSS")

    def encode(self, values: np.ndarray) -> np.ndarray:
        return encode_normals(values)

    def values(self, pixels: torch.Tensor, camera: CameraChange) -> torch.Tensor:
        """Return unit vectors; flips and rotations turn x and y, a zoom by s makes z grow by s.

        The zoom turns a surface z = f(x, y) into z = f(x, y) / s, and the normal is proportional
        to (df/dx, df/dy, -1) (Eigen and Fergus, ICCV 2015).
        """
        vectors = (pixels.float() - ZERO_LEVEL) / ZERO_LEVEL
        turn = vectors.new_tensor(
            [[*camera.x, 0], [*camera.y, 0], [0, 0, camera.zoom if self.zoom_z else 1]]
        )
        vectors = torch.einsum("ij,jhw->ihw", turn, vectors)
        # The zero vector stays zero. F.normalize takes ten times as long across channels.
        return vectors / vectors.square().sum(dim=0, keepdim=True).sqrt().clamp(min=1e-12)

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        known = pixels[(pixels != ZERO_LEVEL).any(axis=2)]
        lengths = np.linalg.norm(LEVELS[known], axis=1)
        wrong = np.abs(lengths - 1) > LENGTH_ERROR
        if wrong.any():
            yield f"{wrong.sum()} of {len(known)} known pixels are no unit vectors"

    def activation(self, maps: torch.Tensor) -> torch.Tensor:
        """Scale the vectors to length 1, in fp32."""
        return F.normalize(maps.float(), dim=1)

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean, known = super().target_maps(target, size)
        return F.normalize(mean, dim=1), known

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        vectors, known = self.target_maps(target, prediction.shape[-2:])
        if self.loss_name == "l1":
            error = (prediction.float() - vectors).abs()
            return known_mean(error, known.expand_as(error))
        return cosine_l2_loss(prediction.float(), vectors, known)

    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return unit vectors, fp32 (3, H, W)."""
        return F.normalize(resize(prediction[None], output_size)[0], dim=0)

    def quantised(self, prediction: np.ndarray) -> np.ndarray:
        return np.floor(127.5 * (1 + prediction)) / np.float32(127.5) - 1

    def meter(self) -> Meter:
        return NormalsMeter()

    def draw(
        self, values: np.ndarray, metadata: Metadata, *, reference: np.ndarray | None = None
    ) -> Drawing:
        """Draw red growing to the right, green upwards, blue towards the camera; unknown black."""
        known = (values != 0).any(axis=2, keepdims=True)
        colours = np.uint8(127.5 * (1 + values * np.float32([1, -1, -1])).clip(0, 2)) * known
        return Drawing("normals: red right, green up, blue to us", colours)


class NormalsMeter(Meter):
    """Angles between predicted and true normals, pooled over the known pixels of all images.

    The median comes from a histogram, so that no list of pixels is kept.
    """

    BOUNDS = (11.25, 22.5, 30)
    BIN = 0.01
    NUM_BINS = round(180 / BIN)

    def count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        known = (label != 0).any(axis=2)
        found, target = prediction[:, known].T.astype(np.float64), label[known].astype(np.float64)
        # float32 vectors are unit vectors to 1e-7 only, which is 0.03 degrees in an arc cosine. A
        # prediction of (0, 0, 0) counts as 90 degrees.
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(target, axis=1)
        cosines = (found * target).sum(axis=1) / np.maximum(lengths, np.finfo(float).tiny)
        angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
        bins = (angles / self.BIN).astype(np.int64).clip(max=self.NUM_BINS - 1)
        within = [(angles < bound).sum() for bound in self.BOUNDS]
        sums = [angles.size, angles.sum(), np.square(angles).sum(), *within]
        return np.concatenate([sums, np.bincount(bins, minlength=self.NUM_BINS)])

    def metrics(self, total: np.ndarray) -> dict[str, float]:
        pixels, angles, squares = total[:3]
        within, histogram = total[3:6], total[6:]
        median_bin = np.searchsorted(histogram.cumsum(), pixels / 2)
        return {
            "mean_angle": angles / pixels,
            "median_angle": (median_bin + 0.5) * self.BIN,
            "rmse": np.sqrt(squares / pixels),
            **{
                f"within_{bound}": count / pixels
                for bound, count in zip(self.BOUNDS, within, strict=True)
            },
        }


def cosine_l2_loss(
    prediction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Return (1 - dot product) + squared L2 distance of unit vectors, the mean over ``known``.

    0 for equal vectors and 6 for opposite ones; of unit vectors it is 3 (1 - dot product). The 1,
    which the paper leaves out, only makes the best value 0. Vectors are (N, 3, h, w).
    """
    dot = (prediction * target).sum(dim=1, keepdim=True)
    squared_distance = (prediction - target).square().sum(dim=1, keepdim=True)
    return known_mean(1 - dot + squared_distance, known)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Convert float (H, W, 3) to the uint8 (H, W, 3) that files hold, in RGB order."""
    if not np.abs(normals).max(initial=0) <= 1.001:
        raise ValueError("normals: NaN or longer than 1; unknown pixels must be (0, 0, 0)")
    return np.uint8(ZERO_LEVEL + np.round(ZERO_LEVEL * normals.clip(-1, 1)))


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Scale float32 (H, W, 3) vectors to length 1; zero vectors stay zero."""
    squares = np.einsum("...c,...c->...", vectors, vectors)
    return vectors / np.sqrt(np.where(squares > 0, squares, 1))[..., None]
