"""Materials: two colours and a procedural texture, drawn without a look at what they go on.

A texture is a function of the point in the primitive's own axes (metres), so it sticks to the
object. P points; every parameter is an array over the points, so that one call shades all of a
texture.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

METAL_GLOSS = 0.8
_TABLE = np.random.default_rng(20120515).random(4096, dtype=np.float32)


@dataclass(frozen=True)
class Material:
    """The appearance of a surface.

    Attributes:
        colours: (2, 3) linear RGB reflectances that the texture mixes.
        scale: size in metres of the texture's features.
        phase: (3,) shift in metres, so that no two things show the same piece of texture.
        grain: axis along which a directed texture changes.
        gloss: strength of the highlight.
        glow: light that the surface gives off by itself, as a multiple of its colour.
    """

    texture: str
    colours: np.ndarray
    scale: float = 0.1
    phase: np.ndarray = field(default_factory=lambda: np.zeros(3))
    grain: int = 0
    gloss: float = 0.0
    glow: float = 0.0


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Linear RGB as paints, woods and cloths have it: mostly muted, seldom vivid."""
    vivid = rng.random() < 0.15
    saturation = rng.uniform(0.5, 0.95) if vivid else rng.beta(1.3, 4.0)
    value = rng.uniform(0.12, 0.95)
    hsv = np.array([[[rng.uniform(0, 360), saturation, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64) ** 2.2


def random_material(rng: np.random.Generator, textures: tuple[str, ...] = ()) -> Material:
    """A material for anything; ``textures`` limits the choice (a floor may ask for planks)."""
    texture = str(rng.choice(textures or tuple(TEXTURES)))
    if not textures and rng.random() < 0.42:
        texture = "plain"
    first = random_colour(rng)
    second = random_colour(rng) if rng.random() < 0.3 else first * rng.uniform(0.35, 0.8)
    return Material(
        texture=texture,
        colours=np.stack([first, second]),
        scale=float(np.exp(rng.uniform(np.log(0.03), np.log(0.25)))),
        phase=rng.uniform(0, 50, 3),
        grain=int(rng.integers(3)),
        gloss=float(rng.choice([0.0, 0.0, 0.1, 0.4])),
    )


def plain(colour: tuple[float, float, float] | np.ndarray, gloss: float = 0.0) -> Material:
    return Material("plain", np.stack([np.asarray(colour, np.float64)] * 2), gloss=gloss)


def metal(rng: np.random.Generator) -> Material:
    shade = rng.uniform(0.08, 0.6)
    return plain(shade * rng.uniform(0.9, 1.0, 3), gloss=METAL_GLOSS)


def glowing(rng: np.random.Generator, low: float, high: float, texture: str = "plain") -> Material:
    """Return a material that emits light: lamp shades, panes, screens."""
    colours = np.stack([random_colour(rng) * 0.3 + 0.7, random_colour(rng)])
    scale = float(rng.uniform(0.05, 0.3))
    glow = float(rng.uniform(low, high))
    return Material(texture, colours, scale, phase=rng.uniform(0, 50, 3), gloss=0.2, glow=glow)


class MaterialTable:
    """Materials as arrays, to colour many points of many materials at once."""

    def __init__(self, materials: list[Material]) -> None:
        names = list(TEXTURES)
        self.texture = np.array([names.index(m.texture) for m in materials])
        self.colours = np.stack([m.colours for m in materials]).astype(np.float32)
        self.scale = np.array([m.scale for m in materials], np.float32)
        self.phase = np.stack([m.phase for m in materials]).astype(np.float32)
        self.grain = np.array([m.grain for m in materials])
        self.gloss = np.array([m.gloss for m in materials], np.float32)
        self.glow = np.array([m.glow for m in materials], np.float32)

    def colour(
        self, index: np.ndarray, point: np.ndarray, normal: np.ndarray, footprint: np.ndarray
    ) -> np.ndarray:
        """(P, 3) colours.

        Args:
            index: (P,) material of each point.
            point: (P, 3) metres, in the primitive's axes.
            normal: (P, 3) absolute canonical normals: which way the surface runs.
            footprint: (P,) metres that a pixel covers; finer texture fades to its mean.
        """
        mix = np.zeros(len(index), np.float32)
        texture = self.texture[index]
        for number, (name, function) in enumerate(TEXTURES.items()):
            chosen = np.flatnonzero(texture == number)
            if name == "plain" or not len(chosen):
                continue
            material = index[chosen]
            scaled = (point[chosen] + self.phase[material]) / self.scale[material, None]
            value = function(scaled.astype(np.float32), self.grain[material], normal[chosen])
            visible = np.clip(self.scale[material] / (2 * footprint[chosen]) - 0.5, 0, 1)
            mix[chosen] = 0.3 + (value - 0.3) * visible
        first, second = self.colours[index, 0], self.colours[index, 1]
        return first + (second - first) * mix[:, None]


def _hash(cell: np.ndarray) -> np.ndarray:
    """(P,) repeatable random number in [0, 1) for each integer cell (P, 3)."""
    x, y, z = cell.astype(np.int64).T
    return _TABLE[(x * 73856093 ^ y * 19349663 ^ z * 83492791) & 4095]


def _value_noise(point: np.ndarray) -> np.ndarray:
    base = np.floor(point)
    f = point - base
    f = f * f * (3 - 2 * f)
    total = np.zeros(len(point), np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                weight = np.prod(np.where([dx, dy, dz], f, 1 - f), axis=1)
                total += weight * _hash(base + [dx, dy, dz])
    return total


def _along(point: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return np.take_along_axis(point, grain[:, None], axis=1)[:, 0]


def _plain(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.zeros(len(point), np.float32)


def _stripes(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 4 * np.sin(2 * np.pi * _along(point, grain)), 0, 1)


def _checks(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return (np.floor(np.where(normal > 0.9, 0, point)).sum(axis=1) % 2).astype(np.float32)


def _tiles(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Thin joints between squares; squares differ a little."""
    point = np.where(normal > 0.9, 0.5, point / 1.5)
    joint = np.abs(point - np.round(point)).min(axis=1) < 0.02
    return np.where(joint, 1.0, 0.3 * _hash(np.floor(point)))


def _planks(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Boards along an axis, each with its own tone, joints and streaks."""
    across = np.take_along_axis(point, (grain[:, None] + [1, 2]) % 3, axis=1)
    board = np.floor(across)
    cell = np.concatenate([board, np.zeros_like(board[:, :1])], axis=1)
    streaks = _value_noise(np.stack([_along(point, grain), across[:, 0] * 9, across[:, 1] * 9], 1))
    joint = np.abs(across - np.round(across)).min(axis=1) < 0.03
    return np.where(joint, 1.0, 0.5 * _hash(cell) + 0.4 * streaks)


def _wood(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    stretch = np.where(np.arange(3) == grain[:, None], 0.4, 4.0).astype(np.float32)
    bent = _value_noise(point * stretch)
    return 0.5 + 0.5 * np.sin(12 * bent + 3 * _along(point, (grain + 1) % 3))


def _clouds(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    noise = 0.65 * _value_noise(point) + 0.35 * _value_noise(point * 2.7)
    return np.clip(2 * noise - 0.5, 0, 1)


def _speckle(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return _hash(np.floor(point * 3))


def _patches(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.round(_hash(np.floor(np.where(normal > 0.9, 0, point))) * 3) / 3


def _dots(point: np.ndarray, grain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    offset = np.where(normal > 0.9, 0, point - np.round(point))
    return ((offset * offset).sum(axis=1) < 0.07).astype(np.float32)


Texture = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
TEXTURES: dict[str, Texture] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "tiles": _tiles,
    "planks": _planks,
    "wood": _wood,
    "clouds": _clouds,
    "speckle": _speckle,
    "patches": _patches,
    "dots": _dots,
}
