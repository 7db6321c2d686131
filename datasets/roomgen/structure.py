"""The building: floor, walls, ceiling, windows, doors and what hangs on walls."""

import numpy as np

from roomgen.materials import Material, glowing, metal, random_material
from roomgen.parts import Extent, Group, Piece, ball, box, cylinder, piece
from roomgen.scene_looks import PLAIN, Look

Rng = np.random.Generator
_THICK = 0.1


def shell(rng: Rng, width: float, depth: float, height: float, look: Look) -> list[Piece]:
    """Floor, ceiling and four walls around [-width/2, width/2] x [-depth/2, depth/2]."""
    outer = (width + 2 * _THICK, _THICK, depth + 2 * _THICK)
    floor, paint, lid = _any_coverings(rng) if look is PLAIN else look.coverings(rng)
    pieces = [
        piece("floor", [box(floor, outer, (0, -_THICK, 0))]),
        piece("ceiling", [box(lid, outer, (0, height, 0))]),
    ]
    accent = _light(rng, random_material(rng)) if rng.random() < look.accent else paint
    trim = None
    if rng.random() < 0.6:
        trim = random_material(rng, ("plain", "wood")) if look is PLAIN else look.trim(rng)
    tiled = look.tiling and look.tiling.layer(rng)
    for wall in range(4):
        across, away = (width, depth) if wall % 2 == 0 else (depth, width)
        cover = accent if wall == 0 else paint
        layers = [(cover, 0.0, height)]
        if tiled and rng.random() < look.tiling.chance:
            _, low, high = tiled
            layers = [(cover, 0.0, low), tiled, (cover, high, height)]
        long, z = across + 2 * _THICK, away / 2 + _THICK / 2
        slabs = [
            box(material, (long, high - low, _THICK), (0, low, z))
            for material, low, high in layers
            if high > low
        ]
        yaw = wall * np.pi / 2
        pieces.append(piece("wall", slabs).moved(yaw=yaw))
        if trim:
            strip = box(trim, (across, 0.09, 0.012), (0, 0, away / 2 - 0.006))
            pieces.append(piece("floor trim", [strip]).moved(yaw=yaw))
    return pieces


def _any_coverings(rng: Rng) -> tuple[Material, Material, Material]:
    """Return a floor, the walls' paint and a ceiling that look alike in all scene types."""
    floor = random_material(
        rng, ("planks", "tiles", "speckle", "wood", "plain", "clouds", "checks")
    )
    paint = random_material(
        rng, ("plain", "plain", "plain", "speckle", "clouds", "stripes", "tiles")
    )
    paint = _light(rng, paint)
    lid = random_material(rng, ("plain", "plain", "tiles", "speckle"))
    return _soft(floor), paint, _light(rng, lid)


def _light(rng: Rng, material: Material) -> Material:
    """Paint of walls and ceilings: mixed with white, and its texture faint."""
    first, second = 0.45 * material.colours**0.7 + rng.uniform(0.05, 0.4)
    faint = first + 0.25 * (second - first)
    return Material(
        material.texture, np.stack([first, faint]), material.scale * 2, material.phase, grain=0
    )


def _soft(material: Material) -> Material:
    first, second = material.colours
    muted = np.stack([first, first + 0.5 * (second - first)])
    grain = 0 if material.grain == 1 else material.grain
    return Material(material.texture, muted, material.scale + 0.05, material.phase, grain=grain)


def door(rng: Rng) -> Group:
    """A leaf with panels and a handle in a frame; the way before it stays free."""
    width, height = rng.uniform(0.75, 0.95), rng.uniform(1.95, 2.1)
    leaf, trim, handle = random_material(rng), random_material(rng), metal(rng)
    panel = random_material(rng) if rng.random() < 0.3 else leaf
    parts = [box(leaf, (width, height, 0.04), (0, 0.005, 0))]
    rows, columns = [(1, 1), (2, 1), (2, 2), (3, 2)][rng.integers(4)]
    for row in range(rows):
        for column in range(columns):
            w, h = width / columns - 0.14, height / rows - 0.2
            x = (column - (columns - 1) / 2) * (width / columns - 0.03)
            parts.append(box(panel, (w, h, 0.014), (x, 0.1 + row * height / rows, -0.024)))
    side = rng.choice([-1, 1])
    x = side * (width / 2 - 0.07)
    if rng.random() < 0.5:
        parts.append(ball(handle, (0.06, 0.06, 0.06), (x, 0.97, -0.06)))
    else:
        parts.append(box(handle, (0.13, 0.022, 0.022), (x - side * 0.04, 1.0, -0.07)))
    parts.append(box(handle, (0.045, 0.16, 0.02), (x, 0.93, -0.03)))
    frame = [box(trim, (width + 0.16, 0.08, 0.05), (0, height + 0.005, 0))]
    for end in (-1, 1):
        frame.append(box(trim, (0.08, height + 0.005, 0.05), (end * (width / 2 + 0.04), 0, 0)))
    way = Extent(0, -0.4, width / 2, 0.35, bottom=0.02, top=2.0)
    pieces = [
        piece("door", parts).at_wall(gap=0.001),
        piece("door frame", frame).at_wall(gap=0.001),
    ]
    return Group(pieces, clear=[way])


def window(rng: Rng, look: Look) -> Group:
    """Bright panes between bars, a sill, perhaps curtains or blinds."""
    width, height = rng.uniform(*look.window_width), rng.uniform(*look.window_height)
    sill = rng.uniform(*look.window_sill)
    trim = random_material(rng, ("plain", "wood"))
    bright = 0.15 if rng.random() < 0.2 else rng.uniform(1.0, 2.5)
    pane = glowing(rng, bright, bright + 0.01, texture=str(rng.choice(["plain", "clouds"])))
    parts = [box(pane, (width, height, 0.01), (0, 0, 0.02))]
    for end in (-1, 1):
        parts.append(box(trim, (0.07, height, 0.05), (end * (width - 0.07) / 2, 0, 0)))
        parts.append(box(trim, (width, 0.07, 0.05), (0, 0 if end < 0 else height - 0.07, 0)))
    columns, rows = rng.integers(1, 4), rng.integers(1, 4)
    for i in range(1, columns):
        parts.append(box(trim, (0.035, height, 0.03), ((i / columns - 0.5) * width, 0, 0)))
    for i in range(1, rows):
        parts.append(box(trim, (width, 0.035, 0.03), (0, i / rows * height, 0)))
    parts.append(box(trim, (width + 0.12, 0.03, 0.12), (0, -0.03, -0.03)))
    pieces = [piece("window", parts).at_wall(up=sill, gap=0.001)]
    choice = rng.random()
    if choice < look.curtains:
        pieces += _curtains(rng, width, height, sill)
    elif choice < look.curtains + look.blinds:
        drop = height * rng.uniform(0.3, 1.0)
        slats = random_material(rng, ("plain",))
        lines = [
            box(slats, (width - 0.02, 0.025, 0.012), (0, sill + height - up, -0.1), pitch=0.5)
            for up in np.arange(0.03, drop, 0.045)
        ]
        pieces.append(piece("blinds", lines))
    return Group(pieces)


def _curtains(rng: Rng, width: float, height: float, sill: float) -> list[Piece]:
    cloth, bottom = random_material(rng), 0.08 if rng.random() < 0.5 else sill - 0.15
    top = sill + height + 0.1
    rod = cylinder(
        metal(rng), (0.025, width + 0.7, 0.025), (0, top - width / 2 - 0.35, -0.12), roll=np.pi / 2
    )
    pieces = [piece("curtain rod", [rod])]
    for end in (-1, 1):
        folds, span = int(rng.integers(4, 7)), rng.uniform(0.3, 0.5)
        strips = [
            cylinder(cloth, (span / folds * 1.3, top - bottom, 0.07), (x, bottom, -0.12))
            for x in end * (width / 2 + 0.2 - span * np.arange(folds) / folds)
        ]
        pieces.append(piece("curtain", strips))
    return pieces


def ceiling_lights(rng: Rng, width: float, depth: float, height: float, look: Look) -> list[Piece]:
    """Equal lights in rows under the ceiling; the measures are the room's."""
    light = _ceiling_light(rng, height, is_long=look.long_light)
    columns, rows = look.light_grid
    return [
        light.moved(x=((i + 0.5) / columns - 0.5) * width, z=((j + 0.5) / rows - 0.5) * depth)
        for i in range(columns)
        for j in range(rows)
    ]


def _ceiling_light(rng: Rng, height: float, is_long: float) -> Piece:
    """``is_long`` is a chance."""
    wide = rng.uniform(0.25, 0.5)
    if rng.random() < 1 - is_long:
        parts = [
            cylinder(glowing(rng, 1.5, 3.0), (wide, 0.08, wide), (0, height - 0.08, 0), top=1.2)
        ]
    else:
        parts = [
            box(metal(rng), (1.2, 0.03, 0.3), (0, height - 0.03, 0)),
            box(glowing(rng, 1.5, 3.0), (1.15, 0.03, 0.25), (0, height - 0.06, 0)),
        ]
    return piece("light", parts)
