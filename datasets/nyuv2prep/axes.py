"""Find the axes of a normals source by geometry, since none of them is documented reliably.

The source is compared with normals from depth under all 48 signed permutations of its channels,
which includes left-handed axes and vectors that face away from the camera.
"""

from dataclasses import dataclass

import numpy as np
from label_checks import AXES

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, INTRINSICS

NUM_SAMPLES = 20
# On NYUv2's own frame the right axes have a median of 5.9 degrees, the next 13.9.
LARGEST_MEDIAN = 15.0
# Degrees between the means of the best two. Means, because half of a room's surfaces may lie so
# that a flipped axis does not show in them, and then medians agree.
SMALLEST_MARGIN = 5.0
PIXELS_PER_FRAME = 5000
# A vector that points this far (cosine) away from the camera was stored with the wrong sign; less
# than that is the estimate of a surface seen edge on.
CLEARLY_AWAY = 0.17

Axes = tuple[tuple[int, int, int], ...]
ALL_AXES: list[Axes] = [tuple(map(tuple, axes)) for axes in AXES.astype(int).tolist()]


@dataclass(frozen=True)
class Candidate:
    """One signed permutation and how well it agrees with the depth.

    Attributes:
        axes: row c gives our x, y, z (in this order) in terms of stored channels.
        mean, median: angle to normals from depth, degrees.
    """

    axes: Axes
    mean: float
    median: float

    def __str__(self) -> str:
        letters = "RGB"
        terms = [
            f"{'-' if sum(row) < 0 else '+'}{letters[[abs(v) for v in row].index(1)]}"
            for row in self.axes
        ]
        angles = f"{self.mean:.1f} degrees from the depth on average, median {self.median:.1f}"
        return f"x = {terms[0]}, y = {terms[1]}, z = {terms[2]} ({angles})"


def sample_frames(num_frames: int) -> list[int]:
    """Return the frames to look at, evenly spaced, counted from 0."""
    count = min(NUM_SAMPLES, num_frames)
    return np.linspace(0, num_frames - 1, count).round().astype(int).tolist()


def sample_pixels(
    stored: np.ndarray, from_depth: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both vectors, (P, 3), at up to ``PIXELS_PER_FRAME`` spread pixels that have both."""
    both = np.flatnonzero(known & (from_depth != 0).any(axis=2))
    chosen = both[:: max(len(both) // PIXELS_PER_FRAME, 1)]
    return stored.reshape(-1, 3)[chosen], from_depth.reshape(-1, 3)[chosen]


def find_axes(stored: np.ndarray, from_depth: np.ndarray, source: str) -> list[Candidate]:
    """Return all 48 candidates, the best first.

    Args:
        stored: (P, 3), channels as stored.
        from_depth: (P, 3), our axes.
        source: its name, for the message.

    Raises:
        ValueError: none fits, or two fit about as well.
    """
    if len(stored) == 0:
        raise ValueError(f"{source}: no pixel has both a unit vector there and a depth")
    candidates = sorted(
        (_judge(axes, stored, from_depth) for axes in ALL_AXES),
        key=lambda candidate: candidate.mean,
    )
    best, second = candidates[:2]
    if best.median > LARGEST_MEDIAN:
        problem = f"the best median is over {LARGEST_MEDIAN:.0f} degrees"
    elif second.mean - best.mean < SMALLEST_MARGIN:
        problem = f"the best two are less than {SMALLEST_MARGIN:.0f} degrees apart"
    else:
        return candidates
    raise ValueError(
        f"{source}: its axes do not follow from the depth, {problem}: {best}; {second}: give "
        "another --normals or none"
    )


def _judge(axes: Axes, stored: np.ndarray, from_depth: np.ndarray) -> Candidate:
    cosines = np.einsum("pc,pc->p", in_our_axes(stored, axes), from_depth)
    angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
    return Candidate(axes, mean=float(angles.mean()), median=float(np.median(angles)))


def in_our_axes(stored: np.ndarray, axes: Axes) -> np.ndarray:
    return stored @ np.asarray(axes, dtype=np.float32).T


def face_camera(normals: np.ndarray) -> tuple[np.ndarray, int]:
    """Turn vectors that clearly face away; return how many pixels those were.

    Args:
        normals: float32 (H, W, 3) of a full frame, our axes.
    """
    fx, fy, cx, cy = INTRINSICS
    x = ((np.arange(IMAGE_SIZE[1]) - cx) / fx).astype(np.float32)
    y = ((np.arange(IMAGE_SIZE[0]) - cy) / fy).astype(np.float32)[:, None]
    along_ray = normals[..., 0] * x + normals[..., 1] * y + normals[..., 2]
    away = along_ray > CLEARLY_AWAY * np.sqrt(x * x + y * y + 1)
    return np.where(away[..., None], -normals, normals), int(np.count_nonzero(away))
