"""Colours of surfaces in a photograph: lamps, shadows and the noise of a camera.

P points; N primitives.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from roomgen.materials import MaterialTable
from roomgen.primitives import Primitives, intersect
from roomgen.raster import Surfaces

_SHADOW_STEP = 2  # Shadows are traced at every second pixel and blurred: a lamp is no point.


@dataclass(frozen=True)
class Lamp:
    position: np.ndarray  # (3,)
    power: np.ndarray  # (3,) linear RGB; what arrives at 2 m when it shines straight down


@dataclass(frozen=True)
class Lighting:
    lamps: tuple[Lamp, ...]
    ambient: np.ndarray  # (3,) linear RGB


def radiance(
    surface: Surfaces,
    material: np.ndarray,
    table: MaterialTable,
    lighting: Lighting,
    casters: Primitives,
    shape: tuple[int, int],
    focal_length: float,
) -> np.ndarray:
    """Linear RGB (H, W, 3) of a view; everything in camera axes.

    Args:
        material: (P,) index into ``table``.
        casters: the primitives that throw shadows.
    """
    point, normal = surface.point.astype(np.float32), surface.normal.astype(np.float32)
    footprint = (point[:, 2] / focal_length).astype(np.float32)
    colour = table.colour(material, surface.local, surface.local_normal, footprint)
    view = point / np.linalg.norm(point, axis=1, keepdims=True)
    gloss = table.gloss[material]
    light = lighting.ambient * _openness(point[:, 2].reshape(shape)).reshape(-1, 1)
    light = light.astype(np.float32)
    highlight = np.zeros_like(light)
    for lamp in lighting.lamps:
        way = lamp.position.astype(np.float32) - point
        distance = np.linalg.norm(way, axis=1)
        way /= distance[:, None]
        facing = np.maximum((way * normal).sum(axis=1), 0)
        lit = _lit(casters, lamp.position, surface, shape).ravel()
        strength = lit * 4 / (distance * distance + 1.0)
        light += (strength * facing)[:, None] * lamp.power
        half = way - view
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        sharp = np.maximum((half * normal).sum(axis=1), 0) ** 32
        highlight += (strength * sharp * gloss)[:, None] * lamp.power
    light += table.glow[material][:, None]
    return (colour * light + highlight).reshape(*shape, 3)


def photograph(linear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB: blur, exposure, white balance, vignette, noise and the sRGB-like curve."""
    height, width = linear.shape[:2]
    size = width / 320
    image = cv2.GaussianBlur(linear.astype(np.float32), (0, 0), rng.uniform(0.35, 0.7) * size)
    brightness = np.median(image.mean(axis=2)) * 0.6 + image.mean() * 0.4
    image *= rng.uniform(0.14, 0.34) / max(brightness, 1e-6)
    image *= rng.normal(1.0, 0.05, 3)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image *= (1 - rng.uniform(0.0, 0.18) * (x * x + y * y))[..., None]
    image = image / (1 + 0.35 * image)  # Highlights roll off before they clip.
    grain = rng.standard_normal((height, width, 3), dtype=np.float32)
    image += grain * rng.uniform(0.002, 0.012) * np.sqrt(np.maximum(image, 0) + 0.02)
    encoded = np.clip(image * 1.25, 0, 1) ** (1 / 2.2)
    return np.round(encoded * 255).astype(np.uint8)


def _openness(depth: np.ndarray) -> np.ndarray:
    """Approximate ambient occlusion: points deeper than their surroundings get less light."""
    nearness = 1.0 / depth
    around = cv2.blur(nearness, (depth.shape[1] // 16 * 2 + 1,) * 2)
    fine = cv2.blur(nearness, (depth.shape[1] // 64 * 2 + 1,) * 2)
    sunk = np.maximum(around - nearness, 0) + np.maximum(fine - nearness, 0)
    return np.clip(1 - 2.0 * sunk / nearness, 0.35, 1)


def _lit(
    casters: Primitives, lamp: np.ndarray, surface: Surfaces, shape: tuple[int, int]
) -> np.ndarray:
    """(H, W) 1 where the lamp is seen, 0 in shadow."""
    keep = np.arange(shape[0] * shape[1]).reshape(shape)[::_SHADOW_STEP, ::_SHADOW_STEP]
    # Start a little before the surface, so that it does not shade itself.
    goal = surface.point[keep.ravel()] + 0.01 * surface.normal[keep.ravel()]
    way = goal - lamp
    shaded = np.zeros(keep.size, bool)
    canonical = casters.to_canonical()
    for n, candidates in _rays_near(casters, lamp, way):
        candidates = candidates[~shaded[candidates]]
        if not len(candidates):
            continue
        origin = canonical[n] @ (lamp - casters.centre[n])
        direction = canonical[n] @ way[candidates].T
        t = intersect(casters.kind[n], casters.taper[n], origin, direction)
        shaded[candidates] = t < 1
    lit = 1 - shaded.reshape(keep.shape).astype(np.float32)
    lit = cv2.GaussianBlur(lit, (0, 0), 0.8 * shape[1] / 320)
    return cv2.resize(lit, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _rays_near(
    casters: Primitives, lamp: np.ndarray, way: np.ndarray
) -> list[tuple[int, np.ndarray]]:
    """Rays from the lamp that touch each caster's bounding sphere: their cones around it."""
    to_centre = casters.centre - lamp
    squared = (to_centre * to_centre).sum(axis=1)
    radius_squared = (casters.bounds() ** 2).sum(axis=1)
    threshold = np.sqrt(np.maximum(squared - radius_squared, 0)).astype(np.float32)
    threshold[squared <= radius_squared] = -np.inf
    unit = (way / np.linalg.norm(way, axis=1, keepdims=True)).astype(np.float32)
    touched = to_centre.astype(np.float32) @ unit.T > threshold[:, None] - 1e-3
    return [(n, np.flatnonzero(row)) for n, row in enumerate(touched) if row.any()]
