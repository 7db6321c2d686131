"""The construction of furniture: parts, pieces and groups of pieces.

Builders think in metres and in heights above the floor: ``at = (x, height of the underside, z)``
and ``size = (width, height, depth)``. A piece stands on the origin and faces -z, its back is
towards +z. Inside, everything is in the world's axes (x right, y down, z forward).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from roomgen.camera import turn
from roomgen.materials import Material
from roomgen.primitives import BOX, CUP, ELLIPSOID, FRUSTUM

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One primitive with its material."""

    kind: int
    material: Material
    centre: np.ndarray
    half: np.ndarray
    rotation: np.ndarray
    taper: float = 1.0

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> "Part":
        return replace(
            self, centre=rotation @ self.centre + shift, rotation=rotation @ self.rotation
        )

    def scaled(self, factors: Triple) -> "Part":
        """Return a copy stretched along the world's axes; what is tilted keeps its angles."""
        stretch = np.linalg.norm(np.array(factors)[:, None] * self.rotation, axis=0)
        return replace(self, centre=self.centre * factors, half=self.half * stretch)


@dataclass(frozen=True)
class Extent:
    """An upright box of space: a rectangle on the floor and an interval of heights."""

    x: float
    z: float
    half_width: float
    half_depth: float
    bottom: float
    top: float
    yaw: float = 0.0

    def moved(self, x: float, z: float, up: float, yaw: float) -> "Extent":
        c, s = np.cos(yaw), np.sin(yaw)
        return replace(
            self,
            x=c * self.x + s * self.z + x,
            z=-s * self.x + c * self.z + z,
            bottom=self.bottom + up,
            top=self.top + up,
            yaw=self.yaw + yaw,
        )

    def corners(self) -> np.ndarray:
        """(4, 2) corners on the floor as (x, z)."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        local = signs * [self.half_width, self.half_depth]
        return local @ np.array([[c, -s], [s, c]]) + [self.x, self.z]

    def overlaps(self, other: "Extent", tolerance: float = 0.02) -> bool:
        """Return whether two boxes share more than a skin of ``tolerance`` metres."""
        if min(self.top, other.top) - max(self.bottom, other.bottom) < tolerance:
            return False
        mine, theirs = self.corners(), other.corners()
        for yaw in (self.yaw, other.yaw):
            c, s = np.cos(yaw), np.sin(yaw)
            for axis in ((c, -s), (s, c)):
                a, b = mine @ axis, theirs @ axis
                if min(a.max(), b.max()) - max(a.min(), b.min()) < tolerance:
                    return False
        return True


@dataclass(frozen=True)
class Piece:
    """One thing with a name: one instance of the picture.

    Attributes:
        extent: the space it takes; computed by ``piece``.
        top: where smaller things may stand, for groups to use before they move the piece.
    """

    name: str
    parts: tuple[Part, ...]
    extent: Extent
    top: Extent | None = None

    @property
    def width(self) -> float:
        return 2 * self.extent.half_width

    @property
    def depth(self) -> float:
        return 2 * self.extent.half_depth

    @property
    def height(self) -> float:
        return self.extent.top

    def moved(self, x: float = 0.0, z: float = 0.0, up: float = 0.0, yaw: float = 0.0) -> "Piece":
        rotation, shift = turn(yaw=yaw), np.array([x, -up, z])
        return replace(
            self,
            parts=tuple(part.moved(rotation, shift) for part in self.parts),
            extent=self.extent.moved(x, z, up, yaw),
            top=self.top and self.top.moved(x, z, up, yaw),
        )

    def in_materials(self, materials: Sequence[Material]) -> "Piece":
        """Return a copy with one material a part."""
        pairs = zip(self.parts, materials, strict=True)
        return replace(self, parts=tuple(replace(part, material=m) for part, m in pairs))

    def at_wall(self, x: float = 0.0, up: float = 0.0, gap: float = 0.01) -> "Piece":
        """Return a copy with its back ``gap`` before the plane z = 0, a group's wall."""
        back = self.extent.z + self.extent.half_depth
        return self.moved(x=x, z=-gap - back, up=up)


@dataclass(frozen=True)
class Group:
    """Pieces that belong together, and space that has to stay free before them (a door's way)."""

    pieces: list[Piece]
    clear: list[Extent] = field(default_factory=list)

    def scaled(self, factors: Triple) -> "Group":
        """Return a copy whose width, height and depth are multiplied."""
        w, h, d = factors
        pieces = [piece(p.name, [part.scaled(factors) for part in p.parts]) for p in self.pieces]
        clear = [
            Extent(e.x * w, e.z * d, e.half_width * w, e.half_depth * d, e.bottom * h, e.top * h)
            for e in self.clear
        ]
        return Group(pieces, clear)

    def extents(self) -> list[Extent]:
        return [piece.extent for piece in self.pieces] + self.clear


def piece(name: str, parts: Iterable[Part], top: Extent | None = None) -> Piece:
    """A piece with the space that its parts take."""
    parts = tuple(parts)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for part in parts:
        wide = max(1.0, part.taper)
        reach = np.abs(part.rotation) @ (part.half * [wide, 1.0, wide])
        low, high = np.minimum(low, part.centre - reach), np.maximum(high, part.centre + reach)
    middle, half = (low + high) / 2, (high - low) / 2
    extent = Extent(middle[0], middle[2], half[0], half[2], bottom=-high[1], top=-low[1])
    return Piece(name=name, parts=parts, extent=extent, top=top)


def surface(width: float, depth: float, height: float, x: float = 0.0, z: float = 0.0) -> Extent:
    """A flat place to put things on, with half a metre of air above."""
    return Extent(x, z, width / 2, depth / 2, bottom=height, top=height + 0.5)


def box(material: Material, size: Triple, at: Triple, **angles: float) -> Part:
    return _part(BOX, material, size, at, 1.0, angles)


def ball(material: Material, size: Triple, at: Triple, **angles: float) -> Part:
    return _part(ELLIPSOID, material, size, at, 1.0, angles)


def cylinder(
    material: Material, size: Triple, at: Triple, top: float = 1.0, **angles: float
) -> Part:
    """``size`` is that of the foot; the top is ``top`` times as wide."""
    return _part(FRUSTUM, material, size, at, top, angles)


def cup(material: Material, size: Triple, at: Triple, top: float = 1.0, **angles: float) -> Part:
    """An open vessel."""
    return _part(CUP, material, size, at, top, angles)


def legs(
    material: Material,
    span: tuple[float, float],
    height: float,
    thick: float,
    is_round: bool = False,
) -> list[Part]:
    """Four legs whose outer faces span (width, depth)."""
    x, z = (span[0] - thick) / 2, (span[1] - thick) / 2
    make = cylinder if is_round else box
    size = (thick, height, thick)
    return [make(material, size, (sx * x, 0.0, sz * z)) for sx in (-1, 1) for sz in (-1, 1)]


def _part(
    kind: int, material: Material, size: Triple, at: Triple, taper: float, angles: dict[str, float]
) -> Part:
    x, bottom, z = at
    return Part(
        kind=kind,
        material=material,
        centre=np.array([x, -(bottom + size[1] / 2), z]),
        half=np.array(size) / 2,
        rotation=turn(**angles),
        taper=taper,
    )
