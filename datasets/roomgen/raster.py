"""Rasteriser: the primitive that every pixel sees, and its depth.

H, W pixels; N primitives; O objects.
"""

from dataclasses import dataclass

import numpy as np

from roomgen.camera import pixel_rays
from roomgen.primitives import Primitives, canonical_normals, intersect

_NEAR = 0.05
_EDGES = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]


@dataclass(frozen=True)
class Hits:
    """depth (H, W) planar metres; primitive (H, W) index; full_pixels (O,) silhouettes alone."""

    depth: np.ndarray
    primitive: np.ndarray
    full_pixels: np.ndarray


def rasterise(
    primitives: Primitives, owner: np.ndarray, matrix: np.ndarray, height: int, width: int
) -> Hits:
    """Draw primitives given in camera axes.

    Args:
        owner: (N,) object of each primitive, ascending.
        matrix: (3, 3) intrinsics.

    Raises:
        ValueError: a pixel sees nothing, so the room is not closed.
    """
    x, y = pixel_rays(matrix, height, width)
    canonical = primitives.to_canonical()
    origins = -np.einsum("nij,nj->ni", canonical, primitives.centre)
    rectangles = _rectangles(primitives.corners(), matrix, height, width)
    depth = np.full((height, width), np.inf)
    index = np.full((height, width), -1, np.int32)
    full_pixels = np.zeros(int(owner.max()) + 1, np.int64)
    silhouette = np.zeros((height, width), bool)
    for n, (top, bottom, left, right) in enumerate(rectangles):
        if n and owner[n] != owner[n - 1]:
            full_pixels[owner[n - 1]] = np.count_nonzero(silhouette)
            silhouette[:] = False
        if top >= bottom or left >= right:
            continue
        window = np.s_[top:bottom, left:right]
        a = canonical[n][:, :, None, None]
        direction = a[:, 0] * x[left:right] + a[:, 1] * y[top:bottom, None] + a[:, 2]
        t = intersect(primitives.kind[n], primitives.taper[n], origins[n], direction)
        silhouette[window] |= t < np.inf
        nearer = t < depth[window]
        np.copyto(depth[window], t, where=nearer)
        index[window][nearer] = n
    full_pixels[owner[-1]] = np.count_nonzero(silhouette)
    if (index < 0).any():
        raise ValueError("a pixel sees no surface: the room has a gap between its walls")
    return Hits(depth=depth, primitive=index, full_pixels=full_pixels)


@dataclass(frozen=True)
class Surfaces:
    """The visible points in detail; P = H * W.

    Attributes:
        point: (P, 3) camera axes, metres.
        normal: (P, 3) unit vectors towards the camera.
        local: (P, 3) the same points in their primitives' own axes, metres.
        local_normal: (P, 3) absolute values of the unit normals in those axes.
    """

    point: np.ndarray
    normal: np.ndarray
    local: np.ndarray
    local_normal: np.ndarray


def surfaces(primitives: Primitives, hits: Hits, matrix: np.ndarray) -> Surfaces:
    height, width = hits.depth.shape
    x, y = pixel_rays(matrix, height, width)
    rays = np.empty((height, width, 3))
    rays[..., 0], rays[..., 1], rays[..., 2] = x, y[:, None], 1.0
    rays, depth, index = rays.reshape(-1, 3), hits.depth.ravel(), hits.primitive.ravel()

    canonical = primitives.to_canonical()
    origins = -np.einsum("nij,nj->ni", canonical, primitives.centre)
    direction = np.matmul(canonical[index], rays[:, :, None])[..., 0]
    gradient = canonical_normals(
        primitives.kind[index], primitives.taper[index], origins[index], direction, depth
    )
    half = primitives.half[index]
    local = (origins[index] + depth[:, None] * direction) * half
    local_normal = _unit(gradient / half)
    normal = np.matmul(primitives.rotation[index], local_normal[:, :, None])[..., 0]
    return Surfaces(rays * depth[:, None], normal, local, np.abs(local_normal))


def _rectangles(corners: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 4) top, bottom, left, right (exclusive ends) of what boxes can cover."""
    starts, ends = corners[:, [a for a, _ in _EDGES]], corners[:, [b for _, b in _EDGES]]
    # Boxes that reach behind the camera are cut at the near plane.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (_NEAR - starts[..., 2:]) / (ends[..., 2:] - starts[..., 2:])
        cuts = starts + share * (ends - starts)
    is_cut = (starts[..., 2] < _NEAR) != (ends[..., 2] < _NEAR)
    points = np.concatenate([corners, np.where(is_cut[..., None], cuts, 0.0)], axis=1)
    in_front = np.concatenate([corners[..., 2] >= _NEAR, is_cut], axis=1)
    z = np.where(in_front, points[..., 2], 1.0)
    u = points[..., 0] / z * matrix[0, 0] + matrix[0, 2]
    v = points[..., 1] / z * matrix[1, 1] + matrix[1, 2]
    low = [np.where(in_front, c, np.inf).min(axis=1) for c in (v, u)]
    high = [np.where(in_front, c, -np.inf).max(axis=1) for c in (v, u)]
    size = (height, width)
    first = [np.clip(np.floor(c), 0, s) for c, s in zip(low, size, strict=True)]
    last = [np.clip(np.ceil(c) + 1, 0, s) for c, s in zip(high, size, strict=True)]
    return np.stack([first[0], last[0], first[1], last[1]], axis=1).astype(int)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
