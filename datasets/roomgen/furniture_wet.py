"""Kitchen and bathroom: counters, sinks, tubs, toilets and machines."""

import numpy as np

from roomgen.furniture_living import drawers
from roomgen.materials import metal, random_material
from roomgen.parts import Part, Piece, box, cup, cylinder, piece, surface

Rng = np.random.Generator
_DEPTH = 0.6


def counter(
    rng: Rng, width: float, depth: float = _DEPTH, height: float = 0.9, basin_x: float | None = None
) -> Piece:
    """Cabinets under a worktop; the worktop leaves a hole for a sink at ``basin_x``."""
    body, top, handle = random_material(rng), random_material(rng), metal(rng)
    low = height - 0.04
    # The body under the hole is lower, so that a basin has depth.
    parts = [
        box(
            body,
            (width, (low if basin_x is None else low - 0.2) - 0.1, depth - 0.05),
            (0, 0.1, 0.02),
        )
    ]
    if basin_x is not None:
        parts.append(box(body, (width, 0.2, 0.02), (0, low - 0.2, -depth / 2 + 0.055)))
        for side in (-1, 1):
            at = (side * (width / 2 - 0.01), low - 0.2, 0.02)
            parts.append(box(body, (0.02, 0.2, depth - 0.05), at))
    parts.append(box(handle, (width - 0.04, 0.1, depth - 0.14), (0, 0, 0.05)))
    parts += _worktop(top, width, depth, low, basin_x)
    count = max(1, round(width / 0.55))
    for i in range(count):
        column, x = width / count, (i - (count - 1) / 2) * width / count
        rows = 1 if rng.random() < 0.6 else 3
        parts += drawers(rng, body, handle, column, (0.11, low), rows, x, -depth / 2 + 0.045)
    if basin_x is None:
        return piece("counter", parts, top=surface(width, depth, height))
    # Things stand on the larger side of the basin.
    side = -1 if basin_x > 0 else 1
    free = width / 2 + abs(basin_x) - 0.32
    x = side * (width / 2 - free / 2)
    return piece("counter", parts, top=surface(free, depth, height, x=x))


_HOLE = (0.5, 0.36)


def _worktop(top, width: float, depth: float, low: float, basin_x: float | None) -> list[Part]:
    if basin_x is None:
        return [box(top, (width, 0.04, depth), (0, low, 0))]
    left = width / 2 + basin_x - _HOLE[0] / 2
    right = width - left - _HOLE[0]
    rim = (depth - _HOLE[1]) / 2
    return [
        box(top, (left, 0.04, depth), (-width / 2 + left / 2, low, 0)),
        box(top, (right, 0.04, depth), (width / 2 - right / 2, low, 0)),
        *(box(top, (_HOLE[0], 0.04, rim), (basin_x, low, z * (depth - rim) / 2)) for z in (-1, 1)),
    ]


def sink(rng: Rng) -> Piece:
    """A basin to hang into a counter's hole: its rim is at height 0."""
    steel = metal(rng) if rng.random() < 0.5 else random_material(rng)
    width, depth, deep = _HOLE[0], _HOLE[1], 0.17
    parts = [box(steel, (width, 0.01, depth), (0, -deep, 0))]
    for side in (-1, 1):
        parts.append(box(steel, (0.012, deep, depth), (side * (width / 2 - 0.006), -deep, 0)))
        parts.append(box(steel, (width, deep, 0.012), (0, -deep, side * (depth / 2 - 0.006))))
        parts.append(box(steel, (0.03, 0.012, depth + 0.06), (side * (width / 2 + 0.012), 0, 0)))
        parts.append(box(steel, (width + 0.05, 0.012, 0.03), (0, 0, side * (depth / 2 + 0.012))))
    parts.append(cylinder(metal(rng), (0.05, 0.006, 0.05), (0, -deep + 0.01, 0)))
    return piece("sink", parts + tap(rng, z=depth / 2 + 0.06))


def pedestal_sink(rng: Rng) -> Piece:
    ceramic = random_material(rng)
    width, depth, height = rng.uniform(0.5, 0.65), rng.uniform(0.42, 0.5), rng.uniform(0.8, 0.88)
    parts = [
        cylinder(ceramic, (0.2, height - 0.15, 0.2), (0, 0, 0.02), top=0.8),
        cup(ceramic, (width * 0.55, 0.18, depth * 0.55), (0, height - 0.18, -0.02), top=1.8),
        box(ceramic, (width * 0.9, 0.1, 0.1), (0, height - 0.09, depth / 2 - 0.05)),
    ]
    parts += [p.moved(np.eye(3), np.array([0, -height, 0])) for p in tap(rng, z=depth / 2 - 0.05)]
    return piece("sink", parts)


def tap(rng: Rng, z: float) -> list[Part]:
    steel, height = metal(rng), rng.uniform(0.15, 0.3)
    parts = [
        cylinder(steel, (0.035, height, 0.035), (0, 0, z)),
        cylinder(steel, (0.025, 0.16, 0.025), (0, height - 0.09, z - 0.08), pitch=np.pi / 2),
    ]
    for side in (-1, 1):
        parts.append(cylinder(steel, (0.04, 0.06, 0.04), (side * 0.1, 0, z)))
    return parts


def bathtub(rng: Rng) -> Piece:
    """Four walls and a floor: hollow, with a rim."""
    shell = random_material(rng)
    inner = shell if rng.random() < 0.5 else random_material(rng)
    length, width, height = rng.uniform(1.45, 1.75), rng.uniform(0.68, 0.8), rng.uniform(0.48, 0.6)
    thick = rng.uniform(0.06, 0.1)
    parts = [box(inner, (length - thick, 0.12, width - thick), (0, 0, 0))]
    for side in (-1, 1):
        x, z = side * (length - thick) / 2, side * (width - thick) / 2
        parts.append(box(shell, (thick, height - 0.03, width), (x, 0, 0)))
        parts.append(box(shell, (length, height - 0.03, thick), (0, 0, z)))
        # The lining stands before the shell's inner faces.
        x, z = x - side * thick / 2, z - side * thick / 2
        parts.append(box(inner, (0.006, height - 0.04, width - thick), (x, 0, 0)))
        parts.append(box(inner, (length - thick, height - 0.04, 0.006), (0, 0, z)))
        x, z = side * (length - thick) / 2, side * (width - thick) / 2
        parts.append(box(shell, (thick + 0.03, 0.03, width + 0.02), (x, height - 0.03, 0)))
        parts.append(box(shell, (length, 0.03, thick + 0.03), (0, height - 0.03, z)))
    x = -length / 2 + thick + 0.12
    slope = (0.03, height - 0.16, width - 2 * thick)
    parts.append(box(inner, slope, (length / 2 - thick - 0.07, 0.09, 0), roll=0.3))
    steel = metal(rng)
    parts.append(cylinder(steel, (0.04, 0.12, 0.04), (x - 0.1, height, 0)))
    parts.append(box(steel, (0.18, 0.03, 0.04), (x - 0.02, height + 0.09, 0)))
    return piece("bathtub", parts)


def toilet(rng: Rng) -> Piece:
    """Bowl with seat, lid up or down, tank at the back."""
    ceramic = random_material(rng)
    seat = ceramic if rng.random() < 0.6 else random_material(rng)
    height, tank = rng.uniform(0.36, 0.42), rng.uniform(0.34, 0.42)
    parts = [
        cylinder(ceramic, (0.24, height - 0.1, 0.34), (0, 0, -0.02), top=1.1),
        cup(ceramic, (0.22, 0.2, 0.3), (0, height - 0.2, -0.08), top=1.7),
        cylinder(ceramic, (0.3, 0.12, 0.36), (0, height - 0.2, -0.06), top=1.2),
        box(ceramic, (0.3, height, 0.2), (0, 0, 0.2)),
        box(ceramic, (0.42, tank, 0.19), (0, height, 0.25)),
        box(ceramic, (0.45, 0.035, 0.22), (0, height + tank, 0.25)),
        box(metal(rng), (0.06, 0.015, 0.02), (-0.14, height + tank - 0.06, 0.145)),
    ]
    if rng.random() < 0.5:
        parts.append(cylinder(seat, (0.4, 0.035, 0.48), (0, height, -0.08)))
    else:
        parts.append(
            cylinder(seat, (0.38, 0.03, 0.44), (0, height + 0.19, 0.13), pitch=np.pi / 2 - 0.1)
        )
    return piece("toilet", parts)


def refridgerator(rng: Rng) -> Piece:
    body, handle = random_material(rng, ("plain", "speckle")), metal(rng)
    width, depth, height = rng.uniform(0.65, 0.9), 0.68, rng.uniform(1.6, 1.85)
    split = height * rng.choice([0.35, 0.65])
    parts = [box(body, (width, height, depth - 0.06), (0, 0, 0.03))]
    for low, high in ((0.03, split - 0.01), (split, height)):
        parts.append(box(body, (width, high - low, 0.05), (0, low, -depth / 2 + 0.025)))
        middle = (low + high) / 2
        at = (width / 2 - 0.06, middle - 0.15, -depth / 2 - 0.02)
        parts.append(box(handle, (0.025, 0.3, 0.04), at))
    return piece("refridgerator", parts)


def stove(rng: Rng) -> Piece:
    body, dark = random_material(rng, ("plain", "speckle")), random_material(rng, ("plain",))
    parts = [
        box(body, (0.6, 0.9, 0.6), (0, 0, 0)),
        box(body, (0.6, 0.15, 0.05), (0, 0.9, 0.275)),
        box(dark, (0.46, 0.36, 0.01), (0, 0.25, -0.305)),
        box(metal(rng), (0.48, 0.025, 0.04), (0, 0.7, -0.32)),
    ]
    for x in (-0.14, 0.14):
        for z in (-0.14, 0.12):
            parts.append(cylinder(dark, (0.2, 0.015, 0.2), (x, 0.9, z)))
    for x in np.linspace(-0.22, 0.22, 5):
        parts.append(cylinder(dark, (0.045, 0.03, 0.045), (x, 0.8, -0.31), pitch=np.pi / 2))
    return piece("stove", parts, top=surface(0.5, 0.4, 0.915))


def wall_cabinet(rng: Rng, width: float) -> Piece:
    body, door, handle = random_material(rng), random_material(rng), metal(rng)
    height, depth = rng.uniform(0.55, 0.75), 0.33
    parts = [box(body, (width, height, depth), (0, 0, 0))]
    count = max(1, round(width / 0.45))
    for i in range(count):
        x, column = (i - (count - 1) / 2) * width / count, width / count
        parts.append(
            box(door, (column - 0.015, height - 0.02, 0.018), (x, 0.01, -depth / 2 - 0.009))
        )
        side = 1 if i % 2 == 0 else -1
        at = (x + side * (column / 2 - 0.04), 0.05, -depth / 2 - 0.03)
        parts.append(box(handle, (0.015, 0.12, 0.025), at))
    return piece("cabinet", parts)


def washing_machine(rng: Rng) -> Piece:
    body, dark = random_material(rng, ("plain",)), random_material(rng, ("plain",))
    parts = [
        box(body, (0.6, 0.85, 0.6), (0, 0, 0)),
        cylinder(metal(rng), (0.4, 0.03, 0.4), (0, 0.41, -0.305), pitch=np.pi / 2),
        cylinder(dark, (0.3, 0.04, 0.3), (0, 0.405, -0.31), pitch=np.pi / 2),
        box(dark, (0.5, 0.08, 0.01), (0, 0.74, -0.303)),
    ]
    return piece("washing machine", parts, top=surface(0.55, 0.5, 0.85))
