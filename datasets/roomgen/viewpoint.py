"""The choice of a viewpoint: at eye height, in free space, with furniture in view."""

from dataclasses import dataclass

import numpy as np

from roomgen.camera import intrinsics, pixel_rays, pose, turn
from roomgen.layouts import Layout
from roomgen.parts import Extent
from roomgen.styles import CameraHabits

_CANDIDATES = 40
# A coarse picture of the upright boxes around all pieces estimates the view of a candidate.
_PREVIEW = (9, 12)
_COMFORTABLE_DISTANCE = 1.3


def choose_viewpoint(rng: np.random.Generator, layout: Layout, zoom: float) -> np.ndarray:
    """(4, 4) camera to world: one of the better of some random poses."""
    habits = layout.style.camera
    blocks = _Blocks.of(layout)
    targets = blocks.centre[blocks.is_thing]
    obstacles = [p.extent for p in layout.pieces if p.name not in ("wall", "floor", "ceiling")]
    best, best_score = None, -np.inf
    for _ in range(_CANDIDATES):
        position = _free_position(rng, layout, obstacles, habits)
        target = targets[rng.integers(len(targets))] if len(targets) else np.zeros(3)
        camera = _look(rng, position, target, habits)
        # A random bonus keeps views with few things in the data.
        score = _preview_score(camera, blocks, zoom) + rng.uniform(0, 3)
        if score > best_score:
            best, best_score = camera, score
    return best


@dataclass(frozen=True)
class _Blocks:
    """The extents of a room's N pieces as arrays."""

    centre: np.ndarray  # (N, 3)
    half: np.ndarray  # (N, 3)
    rotation: np.ndarray  # (N, 3, 3)
    is_thing: np.ndarray  # (N,) whether it is of a detection class

    @classmethod
    def of(cls, layout: Layout) -> "_Blocks":
        extents = [piece.extent for piece in layout.pieces]
        return cls(
            centre=np.array([[e.x, -(e.bottom + e.top) / 2, e.z] for e in extents]),
            half=np.array([[e.half_width, (e.top - e.bottom) / 2, e.half_depth] for e in extents]),
            rotation=np.stack([turn(yaw=e.yaw) for e in extents]),
            is_thing=np.array([piece.name in layout.style.classes for piece in layout.pieces]),
        )


def _preview_score(camera: np.ndarray, blocks: _Blocks, zoom: float) -> float:
    """Return the number of things in view, less a penalty for standing right before something."""
    matrix = intrinsics(*_PREVIEW, zoom)
    x, y = pixel_rays(matrix, *_PREVIEW)
    rays = np.stack([*(a.ravel() for a in np.meshgrid(x, y)), np.ones(len(x) * len(y))])
    to_local = blocks.rotation.transpose(0, 2, 1) / blocks.half[:, :, None]
    origin = to_local @ (camera[:3, 3] - blocks.centre)[:, :, None]
    inverse = 1 / (to_local @ (camera[:3, :3] @ rays))
    enter = (-origin * inverse - np.abs(inverse)).max(axis=1)
    leave = (-origin * inverse + np.abs(inverse)).min(axis=1)
    depth = np.where((enter < leave) & (enter > 0), enter, np.inf)
    seen = np.unique(depth.argmin(axis=0))
    closeness = max(0.0, _COMFORTABLE_DISTANCE - float(np.median(depth.min(axis=0))))
    return float(blocks.is_thing[seen].sum()) - 5 * closeness


def _free_position(
    rng: np.random.Generator, layout: Layout, obstacles: list[Extent], habits: CameraHabits
) -> np.ndarray:
    for _ in range(50):
        up = rng.uniform(*habits.height)
        side = (layout.width - 0.5, layout.depth - 0.5)
        # Beta(0.6, 0.6) prefers the sides, from where more is in view.
        x, z = (rng.beta(0.6, 0.6, 2) - 0.5) * side
        person = Extent(x, z, 0.25, 0.25, bottom=up - 0.6, top=up + 0.15)
        if not any(person.overlaps(obstacle) for obstacle in obstacles):
            return np.array([x, -up, z])
    return np.array([0.0, -1.7, 0.0])


def _look(
    rng: np.random.Generator, position: np.ndarray, target: np.ndarray, habits: CameraHabits
) -> np.ndarray:
    way = target - position
    yaw = np.arctan2(way[0], way[2]) + rng.normal(0, habits.yaw)
    downwards = np.arctan2(way[1], np.hypot(way[0], way[2]))
    pitch = np.clip(habits.aim * downwards + rng.normal(0, 0.08), *habits.pitch)
    return pose(turn(yaw=yaw, pitch=pitch, roll=rng.normal(0, habits.roll)), position)
