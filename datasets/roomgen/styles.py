"""Styles of rooms: the classes, looks, proportions and cameras of a whole data set.

A new style is one entry of STYLES, and a data set in rock_d2/data/datasets/rooms.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rock_d2.data.datasets.nyuv2 import THING_CLASSES
from rock_d2.data.datasets.rooms import OTHER_CLASSES
from roomgen.coverings import Range
from roomgen.parts import Group
from roomgen.scene_looks import LOOKS, PLAIN, Look, Tiling

Rng = np.random.Generator
Proportions = tuple[Range, Range, Range]  # factors of width, height, depth


@dataclass(frozen=True)
class CameraHabits:
    """How pictures are taken; the defaults are those of NYUv2's camera and people.

    Attributes:
        zoom: of the focal length, one for each room.
        height: above the floor, metres.
        yaw, roll: deviations, radians.
        aim: share of the way from straight ahead down to the thing that is aimed at.
        pitch: its bounds, downwards, radians.
    """

    zoom: Range = (1.0, 1.0)
    height: Range = (1.2, 1.7)
    yaw: float = 0.2
    roll: float = 0.03
    aim: float = 0.6
    pitch: Range = (-0.05, 0.55)


@dataclass(frozen=True)
class Style:
    """Properties that all images of a data set share.

    Attributes:
        classes: of objects, in the order of their ids.
        looks: by scene type; other names are drawn from for any type.
        plain_share: of the rooms, which have the plain look.
        stream: of random numbers: styles with the same have the same furniture.
        room: factor of the rooms' width and depth.
        proportions: by the names of layouts.GROUPS; "" for all others; none: as they are built.
        has_scenes: whether the scene types are labels.
    """

    name: str
    classes: tuple[str, ...] = THING_CLASSES
    looks: Mapping[str, Look] = field(default_factory=dict)
    plain_share: float = 0.1
    stream: int = 0
    room: float = 1.0
    proportions: Mapping[str, Proportions] = field(default_factory=dict)
    camera: CameraHabits = CameraHabits()
    has_scenes: bool = True

    @property
    def category_ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes, start=1)}

    @property
    def is_kinect(self) -> bool:
        return self.camera == CameraHabits()

    def look(self, rng: Rng, scene_type: str) -> Look:
        """Return the look of a room."""
        if rng.random() < self.plain_share:
            return PLAIN
        return self.looks.get(scene_type) or self.looks[str(rng.choice(list(self.looks)))]

    def reshape(self, rng: Rng, name: str, group: Group) -> Group:
        """Return furniture in this style's proportions."""
        if not self.proportions:
            return group
        ranges = self.proportions.get(name, self.proportions[""])
        return group.scaled(tuple(rng.uniform(*factors) for factors in ranges))


TYPICAL = Style("typical", looks=LOOKS)

_AS_BUILT = (1.0, 1.0)
OTHER = Style(
    "other",
    classes=OTHER_CLASSES,
    plain_share=0.0,
    stream=10,
    room=1.05,
    has_scenes=False,
    camera=CameraHabits(
        zoom=(0.75, 1.2), height=(0.7, 2.0), yaw=0.3, roll=0.08, aim=0.8, pitch=(-0.15, 0.75)
    ),
    proportions={
        "": ((0.85, 1.2), (0.8, 1.2), (0.85, 1.2)),
        "door": ((0.95, 1.4), (0.95, 1.08), _AS_BUILT),
        "window": ((0.8, 1.3), (0.9, 1.1), _AS_BUILT),
        "bed": ((0.8, 1.1), (0.6, 0.95), (0.9, 1.05)),
        "sofa": ((0.9, 1.35), (0.7, 0.95), (0.95, 1.25)),
        "chair": ((0.8, 1.2), (0.75, 1.3), (0.8, 1.15)),
        "dining": ((0.9, 1.2), (0.9, 1.2), (0.8, 1.1)),
        "desk": ((0.9, 1.4), (0.9, 1.2), (0.8, 1.1)),
        "bookshelf": ((0.6, 1.5), (0.55, 1.1), (0.9, 1.3)),
        "wardrobe": ((0.7, 1.4), (0.8, 1.05), (0.8, 1.1)),
        "floor lamp": ((0.8, 1.8), (0.7, 1.2), (0.8, 1.8)),
        "plant": ((0.8, 1.4), (0.9, 1.8), (0.8, 1.4)),
        "picture": ((0.7, 1.8), (0.8, 1.15), _AS_BUILT),
        "mirror": ((0.6, 1.3), (0.9, 1.2), _AS_BUILT),
        "television": ((0.8, 1.3), (0.7, 1.2), (0.8, 1.1)),
    },
    # By no scene type: any room has any of them.
    looks={
        "loft": Look(
            floor={"concrete": 0.5, "painted boards": 0.5},
            wall={"brick": 0.6, "clouded plaster": 0.3, "deep paint": 0.1},
            ceiling={"concrete": 0.6, "panels": 0.4},
            furniture={"leather": 0.5, "steel": 0.2, "dark wood": 0.3},
            joinery={"black": 0.6, "steel": 0.4},
            accent=0.4, height=(2.9, 3.7), windows=2.0, window_width=(1.4, 2.4),
            window_height=(1.4, 2.0), window_sill=(0.4, 0.9), curtains=0.1, ceiling_light=0.7,
            long_light=0.0, light_grid=(2, 1), lamps=(1, 2), warmth=(0.3, 0.8),
            ambient=(0.06, 0.2),
        ),
        "nordic": Look(
            floor={"painted boards": 0.6, "terrazzo": 0.4},
            wall={"white paint": 0.5, "pastel paint": 0.3, "painted boards": 0.2},
            ceiling={"white paint": 0.6, "painted boards": 0.4},
            furniture={"pale wood": 0.6, "white lacquer": 0.25, "plaid": 0.15},
            joinery={"pale wood": 0.7, "white lacquer": 0.3},
            accent=0.1, height=(2.3, 2.7), windows=2.0, window_width=(0.6, 1.1),
            window_height=(1.2, 1.6), window_sill=(0.5, 0.8), curtains=0.2, blinds=0.05,
            ceiling_light=0.3, long_light=0.0, lamps=(1, 2), warmth=(-0.6, -0.1),
            ambient=(0.5, 0.9),
        ),
        "palace": Look(
            floor={"marble": 0.7, "mosaic": 0.3},
            wall={"marble": 0.3, "striped paper": 0.4, "clouded plaster": 0.3},
            ceiling={"clouded plaster": 0.6, "cream paint": 0.4},
            furniture={"dark wood": 0.4, "striped cloth": 0.3, "leather": 0.3},
            joinery={"dark wood": 0.5, "white lacquer": 0.5},
            tiling=Tiling(0.4, bottom=0.0, top=(0.7, 1.2)), accent=0.3, height=(3.0, 3.8),
            windows=1.5, window_height=(1.5, 2.1), window_sill=(0.3, 0.7), curtains=0.9,
            blinds=0.0, ceiling_light=0.9, long_light=0.0, light_grid=(1, 2), lamps=(2, 4),
            warmth=(0.2, 0.7), ambient=(0.1, 0.3),
        ),
        "toy box": Look(
            floor={"foam mats": 0.4, "terrazzo": 0.3, "plaid": 0.3},
            wall={"pastel paint": 0.5, "dotted paper": 0.3, "bright paint": 0.2},
            ceiling={"pastel paint": 0.6, "white paint": 0.4},
            furniture={"coloured lacquer": 0.6, "plaid": 0.25, "pale wood": 0.15},
            joinery={"coloured lacquer": 0.7, "white lacquer": 0.3},
            accent=0.5, height=(2.3, 2.7), windows=1.2, curtains=0.4, blinds=0.3,
            ceiling_light=0.8, long_light=0.3, lamps=(2, 4), warmth=(-0.3, 0.3),
            ambient=(0.4, 0.7),
        ),
        "night": Look(
            floor={"carpet": 0.5, "boards": 0.3, "terrazzo": 0.2},
            wall={"deep paint": 0.5, "clouded plaster": 0.3, "panels": 0.2},
            ceiling={"white paint": 0.5, "clouded plaster": 0.5},
            furniture={"coloured lacquer": 0.4, "cloth": 0.3, "brown wood": 0.3},
            joinery={"white lacquer": 0.4, "brown wood": 0.6},
            accent=0.2, height=(2.2, 2.6), windows=0.8, curtains=0.3, blinds=0.4,
            ceiling_light=0.2, long_light=0.0, lamps=(1, 1), warmth=(0.4, 0.9),
            ambient=(0.02, 0.08),
        ),
    },
)  # fmt: skip

STYLES = {style.name: style for style in (TYPICAL, Style("plain", plain_share=1.0), OTHER)}
