"""How the rooms of each scene type look: coverings, materials of things, windows, lamps, light.

A new look is one entry of LOOKS. All types overlap: everything is drawn by chance, some rooms and
some things look like those of any other type. ``datasets/scene_probe.py`` measures by how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from roomgen.coverings import COVERINGS, Range, draw_covering
from roomgen.materials import METAL_GLOSS, Material
from roomgen.parts import Piece

Rng = np.random.Generator

# What follows is drawn for this share of the things; the others are of any material.
TYPICAL_SHARE = 0.7
_JOINERY = {"door", "door frame", "window", "floor trim"}
_CERAMIC = {"toilet", "bathtub", "sink"}


_WHITE = {"white paint": 0.8, "plaster": 0.2}
_HUNG = {"ceiling panels": 0.7, "white paint": 0.2, "plaster": 0.1}


@dataclass(frozen=True)
class Tiling:
    """A layer of tiles, between two heights, on some walls."""

    chance: float  # of a wall
    bottom: float
    top: Range

    def layer(self, rng: Rng) -> tuple[Material, float, float]:
        """Return the tiles, the lower and the upper end."""
        return COVERINGS["wall tiles"].material(rng), self.bottom, rng.uniform(*self.top)


@dataclass(frozen=True)
class Look:
    """The materials, windows and lights of a scene type's rooms; the defaults are the plain look.

    Attributes:
        floor, wall, ceiling: chances of COVERINGS; none: any material.
        furniture, joinery: the same for things, and for doors, window frames and trims.
        tiling: of the walls.
        accent: chance that one wall differs.
        height: of the room, metres, as all lengths.
        windows: number of windows, as in layouts.Scene.furniture.
        curtains, blinds: chance that a window has them.
        ceiling_light: chance of lights under the ceiling.
        long_light: chance that these are long boxes and not round.
        light_grid: their number along x and z.
        lamps: range of the number of sources of light.
        warmth: of light, from the sky's blue to a bulb's orange.
        ambient: strength of the light that comes from everywhere.
    """

    floor: Mapping[str, float] = field(default_factory=dict)
    wall: Mapping[str, float] = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)
    furniture: Mapping[str, float] = field(default_factory=dict)
    joinery: Mapping[str, float] = field(default_factory=dict)
    tiling: Tiling | None = None
    accent: float = 0.2
    height: Range = (2.3, 2.9)
    windows: float = 1.2
    window_width: Range = (0.7, 1.7)
    window_height: Range = (0.8, 1.3)
    window_sill: Range = (0.8, 1.1)
    curtains: float = 0.35
    blinds: float = 0.15
    ceiling_light: float = 0.6
    long_light: float = 0.5
    light_grid: tuple[int, int] = (1, 1)
    lamps: tuple[int, int] = (1, 3)
    warmth: Range = (-0.25, 0.45)
    ambient: Range = (0.12, 0.5)

    def coverings(self, rng: Rng) -> tuple[Material, Material, Material]:
        """Return a floor, the walls' paint and a ceiling."""
        parts = (self.floor, self.wall, self.ceiling)
        return tuple(draw_covering(rng, chances) for chances in parts)

    def trim(self, rng: Rng) -> Material:
        return draw_covering(rng, self.joinery)

    def refinish(self, rng: Rng, pieces: Sequence[Piece]) -> list[Piece]:
        """Return furniture and joinery with most of their materials drawn anew for this look.

        What shines or is metal stays as it is; parts of one material keep one material.
        """
        new: dict[int, Material] = {}
        for piece in pieces:
            for old in [part.material for part in piece.parts]:
                if old.glow == 0 and old.gloss < METAL_GLOSS and id(old) not in new:
                    is_typical = rng.random() < TYPICAL_SHARE
                    new[id(old)] = self._material_of(rng, piece.name) if is_typical else old
        return [
            piece.in_materials([new.get(id(part.material), part.material) for part in piece.parts])
            for piece in pieces
        ]

    def _material_of(self, rng: Rng, name: str) -> Material:
        if name in _CERAMIC:
            return COVERINGS["ceramic"].material(rng)
        return draw_covering(rng, self.joinery if name in _JOINERY else self.furniture)


PLAIN = Look()

LOOKS = {
    "bedroom": Look(
        floor={"carpet": 0.6, "boards": 0.3, "parquet": 0.1},
        wall={"cream paint": 0.25, "warm paint": 0.2, "cool paint": 0.2, "white paint": 0.15,
              "striped paper": 0.15, "deep paint": 0.05},
        furniture={"cloth": 0.4, "striped cloth": 0.25, "brown wood": 0.2, "white lacquer": 0.15},
        joinery={"white lacquer": 0.6, "brown wood": 0.4},
        ceiling=_WHITE, height=(2.3, 2.7), windows=1.3, curtains=0.75, blinds=0.1,
        ceiling_light=0.5, long_light=0.0, lamps=(1, 2), warmth=(0.2, 0.55), ambient=(0.12, 0.35),
    ),
    "bathroom": Look(
        floor={"floor tiles": 0.65, "chequered tiles": 0.15, "linoleum": 0.2},
        wall={"white paint": 0.4, "cool paint": 0.35, "cream paint": 0.25},
        furniture={"white lacquer": 0.6, "light wood": 0.2, "cloth": 0.2},
        joinery={"white lacquer": 0.8, "light wood": 0.2},
        tiling=Tiling(0.8, bottom=0.0, top=(1.1, 2.4)), ceiling=_WHITE, accent=0.05,
        height=(2.3, 2.6), windows=0.7, window_width=(0.4, 0.8), window_height=(0.4, 0.8),
        window_sill=(1.2, 1.5), curtains=0.1, blinds=0.3, ceiling_light=0.7, long_light=0.2,
        warmth=(-0.15, 0.15), ambient=(0.25, 0.55),
    ),
    "kitchen": Look(
        floor={"floor tiles": 0.4, "vinyl": 0.2, "boards": 0.25, "linoleum": 0.15},
        wall={"cream paint": 0.35, "white paint": 0.3, "warm paint": 0.2, "cool paint": 0.15},
        furniture={"white lacquer": 0.35, "light wood": 0.35, "steel": 0.3},
        joinery={"white lacquer": 0.6, "light wood": 0.4},
        tiling=Tiling(0.5, bottom=0.9, top=(1.35, 1.6)), ceiling=_WHITE, accent=0.1,
        height=(2.3, 2.7), window_height=(0.6, 1.0), window_sill=(1.0, 1.2), curtains=0.15,
        blinds=0.3, ceiling_light=0.7, long_light=0.4, warmth=(0.0, 0.35), ambient=(0.2, 0.5),
    ),
    "living_room": Look(
        floor={"boards": 0.4, "carpet": 0.4, "parquet": 0.2},
        wall={"cream paint": 0.35, "white paint": 0.25, "warm paint": 0.2, "striped paper": 0.1,
              "deep paint": 0.1},
        furniture={"cloth": 0.5, "brown wood": 0.3, "dark wood": 0.2},
        joinery={"white lacquer": 0.6, "brown wood": 0.4},
        ceiling=_WHITE, accent=0.25, height=(2.4, 2.9), windows=1.8, window_width=(1.2, 2.2),
        window_height=(1.1, 1.5), window_sill=(0.4, 0.8), curtains=0.6, blinds=0.15,
        ceiling_light=0.4, long_light=0.0, warmth=(0.1, 0.5), ambient=(0.15, 0.45),
    ),
    "office": Look(
        floor={"carpet tiles": 0.5, "linoleum": 0.3, "vinyl": 0.1, "concrete": 0.1},
        wall={"white paint": 0.6, "cool paint": 0.25, "cream paint": 0.15},
        furniture={"grey lacquer": 0.4, "beige lacquer": 0.25, "black": 0.25, "light wood": 0.1},
        joinery={"grey lacquer": 0.6, "light wood": 0.4},
        ceiling=_HUNG, accent=0.1, height=(2.5, 3.0), window_width=(1.0, 2.2), curtains=0.02,
        blinds=0.65, ceiling_light=0.95, long_light=0.95, light_grid=(2, 2), lamps=(2, 4),
        warmth=(-0.3, 0.0), ambient=(0.3, 0.6),
    ),
    "dining_room": Look(
        floor={"boards": 0.5, "parquet": 0.35, "carpet": 0.15},
        wall={"warm paint": 0.35, "striped paper": 0.25, "cream paint": 0.2, "deep paint": 0.2},
        furniture={"dark wood": 0.6, "brown wood": 0.4},
        joinery={"white lacquer": 0.4, "dark wood": 0.6},
        ceiling=_WHITE, height=(2.4, 2.9), windows=1.4, window_height=(1.0, 1.5), curtains=0.65,
        blinds=0.05, ceiling_light=0.9, long_light=0.0, lamps=(1, 2), warmth=(0.2, 0.55),
        ambient=(0.1, 0.3),
    ),
    "classroom": Look(
        floor={"linoleum": 0.5, "vinyl": 0.3, "carpet tiles": 0.1, "boards": 0.1},
        wall={"blocks": 0.35, "white paint": 0.3, "cool paint": 0.2, "cream paint": 0.15},
        furniture={"beige lacquer": 0.35, "light wood": 0.35, "blue plastic": 0.3},
        joinery={"light wood": 0.6, "blue plastic": 0.4},
        ceiling=_HUNG, accent=0.1, height=(2.7, 3.3), windows=2.5, window_width=(1.4, 2.4),
        window_height=(1.1, 1.5), curtains=0.05, blinds=0.5, ceiling_light=0.95, long_light=0.95,
        light_grid=(2, 3), lamps=(2, 4), warmth=(-0.3, 0.0), ambient=(0.35, 0.65),
    ),
    "home_office": Look(
        floor={"boards": 0.4, "carpet": 0.4, "parquet": 0.2},
        wall={"white paint": 0.35, "cream paint": 0.3, "cool paint": 0.25, "deep paint": 0.1},
        furniture={"light wood": 0.4, "white lacquer": 0.35, "black": 0.25},
        joinery={"white lacquer": 0.6, "light wood": 0.4},
        ceiling=_WHITE, height=(2.3, 2.7), curtains=0.3, blinds=0.4, ceiling_light=0.6,
        long_light=0.2, warmth=(-0.05, 0.35), ambient=(0.15, 0.45),
    ),
    "playroom": Look(
        floor={"foam mats": 0.4, "carpet": 0.35, "boards": 0.25},
        wall={"bright paint": 0.5, "dotted paper": 0.2, "white paint": 0.15, "cream paint": 0.15},
        furniture={"bright plastic": 0.8, "light wood": 0.2},
        joinery={"bright plastic": 0.4, "white lacquer": 0.6},
        ceiling=_WHITE, accent=0.35, height=(2.3, 2.7), curtains=0.4, ceiling_light=0.6,
        long_light=0.1, warmth=(-0.05, 0.3), ambient=(0.3, 0.6),
    ),
    "excercise_room": Look(
        floor={"rubber": 0.6, "boards": 0.15, "carpet": 0.15, "concrete": 0.1},
        wall={"white paint": 0.35, "blocks": 0.25, "cool paint": 0.2, "deep paint": 0.2},
        furniture={"black": 0.6, "steel": 0.25, "blue plastic": 0.15},
        joinery={"grey lacquer": 0.6, "black": 0.4},
        ceiling=_HUNG, height=(2.4, 3.0), windows=0.7, curtains=0.05, blinds=0.3,
        ceiling_light=0.8, long_light=0.75, light_grid=(1, 2), lamps=(2, 3), warmth=(-0.25, 0.1),
    ),
    "study": Look(
        floor={"boards": 0.45, "parquet": 0.35, "carpet": 0.2},
        wall={"panels": 0.45, "deep paint": 0.25, "warm paint": 0.2, "cream paint": 0.1},
        furniture={"dark wood": 0.75, "cloth": 0.25},
        joinery={"dark wood": 0.8, "white lacquer": 0.2},
        ceiling=_WHITE, height=(2.4, 2.9), windows=1.0, curtains=0.5, blinds=0.1,
        ceiling_light=0.4, long_light=0.0, lamps=(1, 2), warmth=(0.2, 0.55), ambient=(0.08, 0.25),
    ),
    "laundry_room": Look(
        floor={"linoleum": 0.35, "concrete": 0.3, "floor tiles": 0.25, "vinyl": 0.1},
        wall={"white paint": 0.4, "blocks": 0.35, "cool paint": 0.25},
        furniture={"white lacquer": 0.75, "blue plastic": 0.25},
        joinery={"white lacquer": 0.7, "grey lacquer": 0.3},
        ceiling=_WHITE, accent=0.05, height=(2.2, 2.6), windows=0.6, window_width=(0.4, 0.9),
        window_height=(0.4, 0.8), window_sill=(1.1, 1.4), curtains=0.05, blinds=0.2,
        ceiling_light=0.8, long_light=0.6, lamps=(1, 2), warmth=(-0.25, 0.1), ambient=(0.15, 0.4),
    ),
}  # fmt: skip
