"""Beds and what stands beside them."""

import numpy as np

from roomgen.furniture_living import drawers
from roomgen.materials import metal, plain, random_material
from roomgen.parts import Piece, ball, box, cylinder, legs, piece, surface

Rng = np.random.Generator


def bed(rng: Rng) -> Piece:
    """Headboard at the back (+z), mattress on a frame, a blanket over its lower part."""
    width, length = rng.uniform(0.95, 1.8), rng.uniform(1.95, 2.1)
    frame, sheet, blanket = (random_material(rng) for _ in range(3))
    base, top = rng.uniform(0.2, 0.32), rng.uniform(0.45, 0.6)
    head = rng.uniform(0.85, 1.25)
    parts = [
        box(frame, (width, base - 0.1, length), (0, 0.1, 0)),
        *legs(frame, (width, length), 0.1, 0.08),
        box(sheet, (width - 0.03, top - base, length - 0.05), (0, base, 0)),
        box(frame, (width + 0.06, head, 0.06), (0, 0, length / 2 + 0.03)),
    ]
    cover = length * rng.uniform(0.5, 0.72)
    z = -length / 2 + cover / 2
    parts.append(box(blanket, (width + 0.03, top - base + 0.1, cover), (0, base - 0.07, z - 0.015)))
    if rng.random() < 0.5:
        parts.append(box(sheet, (width + 0.04, 0.02, 0.3), (0, top + 0.025, z + cover / 2 - 0.1)))
    if rng.random() < 0.35:
        parts.append(box(frame, (width + 0.06, top + 0.12, 0.05), (0, 0, -length / 2 - 0.045)))
    return piece("bed", parts, top=surface(width, 0.5, top, z=length / 2 - 0.28))


def pillow(rng: Rng, upright: bool | None = None) -> Piece:
    """Flat, or leaning against what is behind it."""
    cloth = random_material(rng)
    upright = rng.random() < 0.5 if upright is None else upright
    width, height, thick = rng.uniform(0.38, 0.65), rng.uniform(0.34, 0.44), rng.uniform(0.13, 0.18)
    inner = (width * 0.86, thick * 0.36, height * 0.86)
    if upright:
        tilt = rng.uniform(0.2, 0.45)
        parts = [
            ball(cloth, (width, height, thick), (0, 0, 0), pitch=tilt),
            box(cloth, (inner[0], inner[2], inner[1]), (0, (height - inner[2]) / 2, 0), pitch=tilt),
        ]
    else:
        parts = [
            ball(cloth, (width * 1.06, thick, height * 1.06), (0, 0, 0)),
            box(cloth, inner, (0, thick * 0.32, 0)),
        ]
    made = piece("pillow", parts)
    return made.moved(up=-made.extent.bottom)


def night_stand(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.4, 0.55), rng.uniform(0.36, 0.45), rng.uniform(0.45, 0.65)
    body, handle = random_material(rng), metal(rng)
    foot = rng.uniform(0.03, 0.14)
    parts = [
        box(body, (width, height - foot - 0.025, depth), (0, foot, 0)),
        *legs(body, (width, depth), foot, 0.04),
        box(body, (width + 0.03, 0.025, depth + 0.02), (0, height - 0.025, 0)),
    ]
    count = int(rng.integers(1, 4))
    parts += drawers(rng, body, handle, width, (foot, height - 0.025), count, 0.0, -depth / 2)
    return piece("night stand", parts, top=surface(width, depth, height))


def dresser(rng: Rng) -> Piece:
    """A wide chest: two columns of drawers."""
    width, depth, height = rng.uniform(1.0, 1.6), rng.uniform(0.42, 0.52), rng.uniform(0.75, 1.2)
    body, handle = random_material(rng), metal(rng)
    rows = int(rng.integers(3, 5))
    parts = [
        box(body, (width, height - 0.11, depth), (0, 0.08, 0)),
        *legs(body, (width, depth), 0.08, 0.06),
        box(body, (width + 0.04, 0.03, depth + 0.03), (0, height - 0.03, 0)),
    ]
    columns = [0.0] if rng.random() < 0.25 else [-width / 4, width / 4]
    for x in columns:
        column = width / len(columns)
        parts += drawers(rng, body, handle, column, (0.1, height - 0.04), rows, x, -depth / 2)
    return piece("dresser", parts, top=surface(width, depth, height))


def wardrobe(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.9, 1.6), 0.58, rng.uniform(1.8, 2.15)
    body, door, handle = random_material(rng), random_material(rng), metal(rng)
    parts = [box(body, (width, height, depth), (0, 0, 0))]
    for side in (-1, 1):
        at = (side * width / 4, 0.06, -depth / 2 - 0.01)
        parts.append(box(door, (width / 2 - 0.012, height - 0.1, 0.02), at))
        parts.append(box(handle, (0.02, 0.2, 0.03), (side * 0.05, height / 2, -depth / 2 - 0.03)))
    return piece("wardrobe", parts)


def crib(rng: Rng) -> Piece:
    wood, cloth = random_material(rng), random_material(rng)
    width, depth, height = 1.2, 0.65, 0.95
    parts = legs(wood, (width, depth), height, 0.045)
    parts.append(box(cloth, (width - 0.06, 0.12, depth - 0.06), (0, 0.35, 0)))
    for z in (-1, 1):
        for low in (0.3, height - 0.05):
            parts.append(box(wood, (width, 0.05, 0.025), (0, low, z * (depth / 2 - 0.02))))
        for x in np.linspace(-0.45, 0.45, 9) * width:
            at = (x, 0.3, z * (depth / 2 - 0.02))
            parts.append(cylinder(wood, (0.018, height - 0.32, 0.018), at))
    return piece("crib", parts)


def mirror(rng: Rng) -> Piece:
    width, height = rng.uniform(0.5, 1.0), rng.uniform(0.6, 1.1)
    frame, glass = random_material(rng), plain(rng.uniform(0.25, 0.6, 3), gloss=0.9)
    parts = [
        box(frame, (width, height, 0.025), (0, 0, 0)),
        box(glass, (width - 0.07, height - 0.07, 0.01), (0, 0.035, -0.014)),
    ]
    return piece("mirror", parts)


def laundry_basket(rng: Rng) -> Piece:
    from_below = rng.uniform(0.35, 0.45)
    wicker, cloth = random_material(rng, ("checks", "stripes")), random_material(rng)
    parts = [
        cylinder(wicker, (from_below, 0.5, from_below), (0, 0, 0), top=1.2),
        ball(cloth, (from_below, 0.2, from_below), (0, 0.4, 0)),
    ]
    return piece("laundry basket", parts)
