"""Materials that floors, walls and things of real rooms have, as ranges to draw from."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roomgen.materials import Material

Rng = np.random.Generator
Range = tuple[float, float]


@dataclass(frozen=True)
class Covering:
    """A kind of material: a texture and ranges of its colours and measures.

    Attributes:
        hue, saturation, value: of the first colour; degrees and shares, as painters see them.
        contrast: the second colour as a multiple of the first.
        turn: the second colour's hue less the first's, in degrees.
        scale: size in metres of the texture's features.
        grains: axes along which a directed texture changes.
    """

    texture: str
    hue: Range
    saturation: Range
    value: Range
    contrast: Range = (0.8, 0.95)
    turn: Range = (0, 0)
    scale: Range = (0.1, 0.2)
    grains: tuple[int, ...] = (0,)
    gloss: float = 0.0

    def material(self, rng: Rng) -> Material:
        hue, saturation, value = (rng.uniform(*r) for r in (self.hue, self.saturation, self.value))
        colours = [(hue, saturation, value), (hue + rng.uniform(*self.turn), saturation, value)]
        first, second = (
            np.array(colorsys.hsv_to_rgb(h / 360 % 1, s, v)) ** 2.2 for h, s, v in colours
        )
        return Material(
            self.texture,
            np.stack([first, np.minimum(second * rng.uniform(*self.contrast), 1)]),
            scale=rng.uniform(*self.scale),
            phase=rng.uniform(0, 50, 3),
            grain=int(rng.choice(self.grains)),
            gloss=self.gloss,
        )


_ANY = (0, 360)
COVERINGS = {
    # Floors.
    "boards": Covering("planks", (18, 38), (0.3, 0.6), (0.35, 0.8), (0.5, 0.8),
        scale=(0.08, 0.14), grains=(0, 2), gloss=0.1),
    "parquet": Covering("checks", (18, 36), (0.35, 0.6), (0.4, 0.75), (0.7, 0.9),
        scale=(0.06, 0.14), gloss=0.1),
    "carpet": Covering("speckle", _ANY, (0.05, 0.45), (0.3, 0.75), (0.6, 0.85), scale=(0.03, 0.06)),
    "carpet tiles": Covering("checks", (190, 260), (0.05, 0.35), (0.2, 0.5), (0.75, 0.92),
        scale=(0.4, 0.5)),
    "linoleum": Covering("clouds", (30, 220), (0.03, 0.2), (0.5, 0.85), (0.7, 0.9),
        scale=(0.05, 0.15), gloss=0.1),
    "vinyl": Covering("checks", _ANY, (0.03, 0.25), (0.5, 0.9), (0.5, 0.85), scale=(0.25, 0.35),
        gloss=0.1),
    "floor tiles": Covering("tiles", (15, 220), (0.02, 0.25), (0.5, 0.95), (0.4, 0.75),
        scale=(0.12, 0.25), gloss=0.1),
    "chequered tiles": Covering("checks", (15, 220), (0.0, 0.15), (0.75, 0.95), (0.05, 0.4),
        scale=(0.12, 0.3), gloss=0.1),
    "concrete": Covering("clouds", (20, 220), (0.0, 0.1), (0.4, 0.65), (0.7, 0.9),
        scale=(0.3, 0.6)),
    "rubber": Covering("speckle", _ANY, (0.0, 0.15), (0.15, 0.35), (1.5, 4.0), scale=(0.04, 0.08)),
    "foam mats": Covering("patches", _ANY, (0.5, 0.85), (0.65, 0.95), (0.8, 1.2), turn=(60, 300),
        scale=(0.3, 0.5)),
    # Walls and ceilings.
    "white paint": Covering("plain", (30, 220), (0.0, 0.06), (0.85, 0.97)),
    "cream paint": Covering("plain", (25, 55), (0.08, 0.3), (0.8, 0.95)),
    "warm paint": Covering("plain", (0, 50), (0.15, 0.45), (0.6, 0.9)),
    "cool paint": Covering("plain", (90, 240), (0.06, 0.3), (0.65, 0.92)),
    "deep paint": Covering("plain", _ANY, (0.3, 0.65), (0.3, 0.65)),
    "bright paint": Covering("plain", _ANY, (0.3, 0.6), (0.8, 0.97)),
    "striped paper": Covering("stripes", _ANY, (0.1, 0.35), (0.6, 0.92), (0.7, 0.9),
        scale=(0.08, 0.2)),
    "dotted paper": Covering("dots", _ANY, (0.1, 0.4), (0.7, 0.95), (0.5, 0.85), turn=(-90, 90),
        scale=(0.12, 0.25)),
    "panels": Covering("planks", (14, 34), (0.35, 0.6), (0.3, 0.6), (0.5, 0.8), scale=(0.1, 0.2),
        grains=(1,)),
    "blocks": Covering("tiles", (30, 220), (0.0, 0.15), (0.7, 0.95), (0.7, 0.9),
        scale=(0.15, 0.25)),
    "wall tiles": Covering("tiles", (30, 240), (0.0, 0.25), (0.7, 0.97), (0.45, 0.8),
        scale=(0.06, 0.16), gloss=0.1),
    "plaster": Covering("speckle", (30, 220), (0.0, 0.06), (0.8, 0.95), (0.85, 0.95),
        scale=(0.05, 0.1)),
    "ceiling panels": Covering("tiles", (30, 220), (0.0, 0.05), (0.85, 0.95), (0.5, 0.8),
        scale=(0.35, 0.45)),
    # Furniture, doors and window frames.
    "light wood": Covering("wood", (25, 40), (0.25, 0.5), (0.6, 0.9), (0.75, 0.9),
        scale=(0.1, 0.3), grains=(0, 1, 2)),
    "brown wood": Covering("wood", (18, 34), (0.4, 0.65), (0.4, 0.65), (0.7, 0.9),
        scale=(0.1, 0.3), grains=(0, 1, 2)),
    "dark wood": Covering("wood", (10, 28), (0.45, 0.75), (0.15, 0.4), (0.6, 0.85),
        scale=(0.1, 0.3), grains=(0, 1, 2), gloss=0.1),
    "white lacquer": Covering("plain", (30, 220), (0.0, 0.05), (0.85, 0.97), gloss=0.1),
    "grey lacquer": Covering("plain", (190, 240), (0.0, 0.12), (0.35, 0.7)),
    "beige lacquer": Covering("plain", (30, 50), (0.1, 0.3), (0.65, 0.85)),
    "black": Covering("plain", _ANY, (0.0, 0.15), (0.08, 0.22), gloss=0.1),
    "steel": Covering("plain", (190, 240), (0.0, 0.06), (0.5, 0.75), gloss=0.4),
    "ceramic": Covering("plain", (30, 60), (0.0, 0.06), (0.9, 0.98), gloss=0.4),
    "blue plastic": Covering("plain", (195, 235), (0.4, 0.7), (0.4, 0.75), gloss=0.1),
    "bright plastic": Covering("plain", _ANY, (0.6, 0.95), (0.7, 0.97), gloss=0.1),
    "cloth": Covering("speckle", _ANY, (0.15, 0.45), (0.3, 0.75), (0.7, 0.9), scale=(0.03, 0.06)),
    "striped cloth": Covering("stripes", _ANY, (0.15, 0.5), (0.5, 0.9), (0.7, 1.0),
        turn=(-60, 60), scale=(0.05, 0.15), grains=(0, 2)),
    # Of the style "other" alone.
    "marble": Covering("clouds", (20, 220), (0.0, 0.12), (0.7, 0.95), (0.35, 0.7),
        scale=(0.3, 0.6), gloss=0.4),
    "terrazzo": Covering("speckle", _ANY, (0.0, 0.2), (0.55, 0.85), (0.3, 0.6),
        scale=(0.07, 0.12), gloss=0.1),
    "painted boards": Covering("planks", _ANY, (0.05, 0.35), (0.6, 0.95), (0.6, 0.85),
        scale=(0.16, 0.3), grains=(0, 2)),
    "brick": Covering("tiles", (4, 24), (0.4, 0.7), (0.35, 0.65), (1.3, 1.8), scale=(0.08, 0.12)),
    "pastel paint": Covering("plain", _ANY, (0.2, 0.45), (0.75, 0.95)),
    "mosaic": Covering("patches", _ANY, (0.2, 0.6), (0.4, 0.9), (0.4, 0.8), turn=(-40, 40),
        scale=(0.05, 0.09), gloss=0.1),
    "clouded plaster": Covering("clouds", _ANY, (0.1, 0.35), (0.6, 0.9), (0.75, 0.9),
        scale=(0.4, 0.9)),
    "pale wood": Covering("wood", (30, 48), (0.1, 0.3), (0.75, 0.95), (0.8, 0.92),
        scale=(0.2, 0.5), grains=(0, 1, 2)),
    "leather": Covering("clouds", (8, 34), (0.4, 0.75), (0.12, 0.5), (0.75, 0.9),
        scale=(0.05, 0.1), gloss=0.3),
    "plaid": Covering("checks", _ANY, (0.25, 0.7), (0.4, 0.9), (0.5, 0.9), turn=(40, 180),
        scale=(0.05, 0.14)),
    "coloured lacquer": Covering("plain", _ANY, (0.35, 0.75), (0.35, 0.8), gloss=0.2),
}  # fmt: skip


def draw_covering(rng: Rng, chances: Mapping[str, float]) -> Material:
    """Return a material; the names of COVERINGS have these chances."""
    return COVERINGS[str(rng.choice(list(chances), p=list(chances.values())))].material(rng)
