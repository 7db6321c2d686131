"""Scene types: which furniture a room has, and where it goes.

A new scene type is one entry of SCENES; the placement below tries, checks for collisions
and gives up on what does not fit, as people do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from roomgen import (
    clutter,
    furniture_bedroom,
    furniture_living,
    furniture_other,
    furniture_wet,
    groups,
    groups_wet,
    structure,
)
from roomgen.groups import single
from roomgen.parts import Extent, Group, Piece
from roomgen.scene_looks import PLAIN, Look
from roomgen.styles import Style

Rng = np.random.Generator

GROUPS: dict[str, Callable[[Rng], Group]] = {
    "door": structure.door,
    "bed": groups.bed,
    "desk": groups.desk,
    "dining": groups.dining,
    "sofa": groups.sofa,
    "television": groups.television,
    "wall television": groups.wall_television,
    "bookshelf": groups.bookshelf,
    "dresser": groups.dresser,
    "kitchen run": groups_wet.kitchen_run,
    "counter": groups_wet.counter,
    "vanity": groups_wet.vanity,
    "toilet": groups_wet.toilet,
    "bathtub": groups_wet.bathtub,
    "boxes": groups.boxes,
    "toys": groups.toys,
    "play table": groups.play_table,
    "side table": groups.side_table,
    "class rows": groups.class_rows,
    "chair": single(furniture_living.chair),
    "garbage bin": single(furniture_living.garbage_bin),
    "floor lamp": single(furniture_living.floor_lamp),
    "shelves": single(furniture_living.shelves),
    "wardrobe": single(furniture_bedroom.wardrobe),
    "crib": single(furniture_bedroom.crib),
    "laundry basket": single(furniture_bedroom.laundry_basket),
    "washing machine": single(furniture_wet.washing_machine),
    "refridgerator": single(furniture_wet.refridgerator),
    "picture": single(furniture_other.picture, 1.2, 1.6),
    "mirror": single(furniture_bedroom.mirror, 0.6, 1.2),
    "clock": single(furniture_other.clock, 1.7, 2.1),
    "whiteboard": single(furniture_other.whiteboard, 0.8, 1.0),
    "towel": single(furniture_other.hanging_towel, 0.9, 1.2),
    "plant": single(lambda rng: clutter.plant(rng, big=True)),
    "bag": single(clutter.bag),
    "floor mat": single(furniture_other.floor_mat),
    "excercise ball": single(furniture_other.exercise_ball),
    "treadmill": single(furniture_other.treadmill),
    "hand weight": single(furniture_other.hand_weight),
    "bench": single(furniture_other.bench),
}

# How often a group of this name stands away from the walls.
_FREE = {"dining": 0.9, "class rows": 1.0, "toys": 0.8, "floor mat": 0.9, "excercise ball": 0.6}
_FREE |= {"play table": 0.7, "hand weight": 0.7, "bench": 0.6, "treadmill": 0.4, "counter": 0.25}
_FREE |= {"sofa": 0.15, "bag": 0.3, "chair": 0.4, "boxes": 0.2, "desk": 0.08}


@dataclass(frozen=True)
class Scene:
    """One scene type.

    Attributes:
        weight: how common it is.
        width, depth: ranges of the room's measures in metres.
        furniture: for each group the chance of one, in order of importance; 1.6 means
            one for certain and a second with a chance of 0.6.
    """

    weight: float
    width: tuple[float, float]
    depth: tuple[float, float]
    furniture: dict[str, float]


SCENES: dict[str, Scene] = {
    "bedroom": Scene(3.0, (2.8, 4.4), (3.0, 4.6), {
        "bed": 1.15, "dresser": 0.95, "wardrobe": 0.4, "desk": 0.25, "television": 0.2,
        "chair": 0.3, "bookshelf": 0.2, "crib": 0.08, "floor lamp": 0.2, "boxes": 0.25,
        "laundry basket": 0.3, "bag": 0.4, "floor mat": 0.4, "picture": 1.2, "mirror": 0.3,
        "wall television": 0.15,
    }),
    "bathroom": Scene(2.3, (1.9, 2.9), (2.1, 3.3), {
        "bathtub": 0.85, "toilet": 0.95, "vanity": 0.97, "garbage bin": 0.6, "towel": 1.0,
        "floor mat": 0.6, "laundry basket": 0.2, "shelves": 0.15, "picture": 0.4,
    }),
    "kitchen": Scene(2.2, (2.6, 4.2), (2.8, 4.6), {
        "kitchen run": 1.3, "counter": 0.8, "dining": 0.5, "refridgerator": 0.4, "garbage bin": 0.8,
        "chair": 0.6, "shelves": 0.2, "boxes": 0.4, "bag": 0.2, "picture": 0.5, "clock": 0.5,
        "washing machine": 0.15, "floor mat": 0.3,
    }),
    "living_room": Scene(2.4, (3.4, 5.4), (3.6, 5.6), {
        "sofa": 1.5, "television": 0.75, "bookshelf": 0.6, "chair": 0.9, "side table": 0.6,
        "dresser": 0.15, "floor lamp": 0.5, "plant": 0.6, "wall television": 0.1, "toys": 0.15,
        "boxes": 0.15, "floor mat": 0.5, "picture": 1.6, "clock": 0.2, "bag": 0.2,
    }),
    "office": Scene(1.3, (3.0, 4.8), (3.0, 5.0), {
        "desk": 1.9, "bookshelf": 0.7, "shelves": 0.4, "whiteboard": 0.6, "boxes": 0.7,
        "garbage bin": 0.4, "chair": 0.6, "side table": 0.3, "picture": 0.4, "clock": 0.3,
        "bag": 0.4,
    }),
    "dining_room": Scene(1.4, (3.0, 4.6), (3.2, 4.8), {
        "dining": 1.0, "dresser": 0.4, "side table": 0.5, "bookshelf": 0.15, "plant": 0.5,
        "floor lamp": 0.25, "chair": 0.3, "mirror": 0.2, "picture": 1.6, "floor mat": 0.3,
        "television": 0.12, "clock": 0.2,
    }),
    "classroom": Scene(0.9, (4.5, 6.0), (4.5, 6.4), {
        "whiteboard": 1.3, "class rows": 1.0, "desk": 0.4, "garbage bin": 0.6, "bookshelf": 0.3,
        "wall television": 0.25, "clock": 0.6, "chair": 0.8, "boxes": 0.3, "bag": 0.7,
        "picture": 0.6,
    }),
    "home_office": Scene(1.2, (2.6, 3.8), (2.8, 4.0), {
        "desk": 1.2, "bookshelf": 0.9, "sofa": 0.2, "bed": 0.1, "floor lamp": 0.4, "boxes": 0.5,
        "garbage bin": 0.35, "dresser": 0.15, "plant": 0.3, "picture": 1.0, "chair": 0.3,
        "television": 0.1, "bag": 0.4,
    }),
    "playroom": Scene(1.0, (3.0, 4.8), (3.0, 4.8), {
        "toys": 2.0, "play table": 0.8, "sofa": 0.4, "television": 0.35, "bookshelf": 0.5,
        "boxes": 1.0, "shelves": 0.5, "chair": 0.7, "floor mat": 0.7, "picture": 0.8, "bag": 0.3,
    }),
    "excercise_room": Scene(0.8, (3.2, 5.0), (3.4, 5.2), {
        "treadmill": 1.0, "bench": 0.6, "excercise ball": 1.0, "hand weight": 1.5, "floor mat": 0.9,
        "television": 0.4, "wall television": 0.5, "mirror": 0.8, "chair": 0.8, "boxes": 0.8,
        "garbage bin": 0.5, "floor lamp": 0.3, "towel": 0.5, "bag": 0.5, "clock": 0.3,
    }),
    "study": Scene(0.9, (2.8, 4.0), (2.8, 4.2), {
        "bookshelf": 2.0, "desk": 0.8, "chair": 0.8, "floor lamp": 0.6, "sofa": 0.3,
        "side table": 0.3, "boxes": 0.3, "plant": 0.3, "picture": 0.7,
    }),
    "laundry_room": Scene(0.6, (2.0, 3.2), (2.2, 3.4), {
        "washing machine": 1.8, "vanity": 0.6, "counter": 0.6, "laundry basket": 1.2,
        "shelves": 0.6, "boxes": 0.8, "garbage bin": 0.4, "bag": 0.3, "towel": 0.5,
    }),
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A furnished room; x in [-width/2, width/2], z in [-depth/2, depth/2], floor at y = 0."""

    scene_type: str
    width: float
    depth: float
    height: float
    pieces: tuple[Piece, ...]
    look: Look
    style: Style


def scene_type_of(seed: int, sequence: int) -> str:
    """Return the scene type of a room; any run of rooms has them in proportion to their weights.

    Steps of the golden ratio fill [0, 1) evenly, so that small data sets hold all types too.
    """
    start = np.random.default_rng(seed).random()
    share = (start + sequence * (np.sqrt(5) - 1) / 2) % 1
    upper = np.cumsum([scene.weight for scene in SCENES.values()])
    return list(SCENES)[int(np.searchsorted(upper, share * upper[-1], side="right"))]


def furnish(rng: Rng, scene_type: str, look: Look, style: Style) -> Layout:
    """Return a random room of a scene type."""
    scene = SCENES[scene_type]
    width, depth, height = (
        rng.uniform(*scene.width) * style.room,
        rng.uniform(*scene.depth) * style.room,
        rng.uniform(*look.height),
    )
    placer = _Placer(rng, width, depth, height)
    openings = {"door": 0.95 if rng.random() < 0.8 else 1.8}
    builders = GROUPS | {"window": partial(structure.window, look=look)}
    for name, chance in (openings | scene.furniture | {"window": look.windows}).items():
        count = int(chance) + int(rng.random() < chance % 1)
        for _ in range(count):
            group = style.reshape(rng, name, builders[name](rng))
            placer.place(group, is_free=rng.random() < _FREE.get(name, 0.0))
    pieces = structure.shell(rng, width, depth, height, look)
    if rng.random() < look.ceiling_light:
        pieces += structure.ceiling_lights(rng, width, depth, height, look)
    things = placer.pieces if look is PLAIN else look.refinish(rng, placer.pieces)
    return Layout(scene_type, width, depth, height, (*pieces, *things), look, style)


class _Placer:
    """Put groups into an empty room, one after the other, where there is space for them."""

    _TRIES = 25

    def __init__(self, rng: Rng, width: float, depth: float, height: float) -> None:
        self.rng, self.width, self.depth, self.height = rng, width, depth, height
        self.pieces: list[Piece] = []
        self.taken: list[Extent] = []

    def place(self, group: Group, is_free: bool) -> bool:
        """Put a group into the room; return whether there was space."""
        extents = group.extents()
        points = np.concatenate([extent.corners() for extent in extents])
        low, high = points.min(axis=0), points.max(axis=0)
        for _ in range(self._TRIES):
            x, z, yaw = self._spot_free(low, high) if is_free else self._spot_at_wall(low, high)
            moved = [extent.moved(x, z, 0.0, yaw) for extent in extents]
            if all(self._is_inside(extent) for extent in moved) and not any(
                extent.overlaps(other) for extent in moved for other in self.taken
            ):
                self.pieces += [piece.moved(x=x, z=z, yaw=yaw) for piece in group.pieces]
                self.taken += moved
                return True
        return False

    def _spot_at_wall(self, low: np.ndarray, high: np.ndarray) -> tuple[float, float, float]:
        wall = int(self.rng.integers(4))
        across, away = (self.width, self.depth)[:: 1 if wall % 2 == 0 else -1]
        first, last = -across / 2 - low[0], across / 2 - high[0]
        along = self.rng.uniform(min(first, last), max(first, last))
        if self.rng.random() < 0.3:
            along = self.rng.choice([first + 0.01, last - 0.01])
        yaw = wall * np.pi / 2
        c, s = np.cos(yaw), np.sin(yaw)
        return c * along + s * away / 2, -s * along + c * away / 2, yaw

    def _spot_free(self, low: np.ndarray, high: np.ndarray) -> tuple[float, float, float]:
        yaw = self.rng.integers(4) * np.pi / 2 + self.rng.normal(0, 0.12)
        middle = (low + high) / 2
        c, s = np.cos(yaw), np.sin(yaw)
        x = self.rng.uniform(-0.35, 0.35) * self.width - (c * middle[0] + s * middle[1])
        z = self.rng.uniform(-0.35, 0.35) * self.depth - (-s * middle[0] + c * middle[1])
        return x, z, yaw

    def _is_inside(self, extent: Extent) -> bool:
        reach = np.abs(extent.corners()).max(axis=0)
        return bool(
            reach[0] <= self.width / 2 and reach[1] <= self.depth / 2 and extent.top < self.height
        )
