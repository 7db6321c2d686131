"""Tables, chairs, sofas, shelves, televisions: one small function a piece.

Every builder draws its measures and materials from ``rng``; see parts.py for the conventions.
"""

import numpy as np

from roomgen.materials import Material, glowing, metal, random_material
from roomgen.parts import Part, Piece, Triple, ball, box, cup, cylinder, legs, piece, surface

Rng = np.random.Generator


def table(rng: Rng, width: float | None = None, height: float = 0.0) -> Piece:
    width = width or rng.uniform(0.9, 1.9)
    depth, height = rng.uniform(0.7, 1.0), height or rng.uniform(0.70, 0.78)
    board, frame, thick = random_material(rng), random_material(rng), rng.uniform(0.025, 0.05)
    if rng.random() < 0.25:
        size = max(depth, min(width, 1.2))
        parts = [
            cylinder(board, (size, thick, size), (0, height - thick, 0)),
            cylinder(frame, (0.1, height - thick, 0.1), (0, 0, 0)),
            cylinder(frame, (0.55 * size, 0.04, 0.55 * size), (0, 0, 0), top=0.6),
        ]
        return piece("table", parts, top=surface(0.65 * size, 0.65 * size, height))
    parts = [box(board, (width, thick, depth), (0, height - thick, 0))]
    thin, apron = rng.uniform(0.04, 0.09), rng.random() < 0.6
    parts += legs(frame, (width - 0.08, depth - 0.08), height - thick, thin, rng.random() < 0.3)
    if apron:
        parts.append(box(frame, (width - 0.16, 0.08, depth - 0.16), (0, height - thick - 0.08, 0)))
    return piece("table", parts, top=surface(width, depth, height))


def coffee_table(rng: Rng) -> Piece:
    made = table(rng, width=rng.uniform(0.7, 1.2), height=rng.uniform(0.35, 0.48))
    return piece("coffee table", made.parts, top=made.top)


def desk(rng: Rng) -> Piece:
    """A board on a chest of drawers and a side panel, with a back panel."""
    width, depth, height = rng.uniform(1.1, 1.7), rng.uniform(0.6, 0.8), rng.uniform(0.71, 0.77)
    board, body, handle = random_material(rng), random_material(rng), metal(rng)
    side = rng.choice([-1, 1])
    chest = rng.uniform(0.36, 0.48)
    x = side * (width - chest) / 2
    parts = [
        box(board, (width, 0.035, depth), (0, height - 0.035, 0)),
        box(body, (0.04, height - 0.035, depth - 0.04), (-side * (width / 2 - 0.03), 0, 0)),
        box(body, (width - 0.06, 0.4, 0.02), (0, height - 0.435, depth / 2 - 0.05)),
        box(body, (chest, height - 0.09, depth - 0.06), (x, 0.05, 0)),
        *drawers(rng, body, handle, chest, (0.07, height - 0.06), 3, x, -(depth - 0.06) / 2),
    ]
    return piece("desk", parts, top=surface(width, depth, height))


def drawers(
    rng: Rng, front, handle, width: float, span: tuple[float, float], count: int, x: float, z: float
) -> list[Part]:
    """Fronts with handles or knobs, ``count`` above each other between two heights, before z."""
    bottom, step = span[0], (span[1] - span[0]) / count
    tone = random_material(rng) if rng.random() < 0.15 else front
    knob = rng.random() < 0.4
    parts = []
    for i in range(count):
        low = bottom + i * step
        parts.append(box(tone, (width - 0.04, step - 0.02, 0.018), (x, low + 0.01, z - 0.009)))
        if knob:
            parts.append(ball(handle, (0.035, 0.035, 0.035), (x, low + step / 2 - 0.018, z - 0.03)))
        else:
            size = (0.35 * width, 0.018, 0.025)
            parts.append(box(handle, size, (x, low + step / 2 - 0.009, z - 0.03)))
    return parts


def chair(rng: Rng) -> Piece:
    make = rng.choice([straight_chair, office_chair, armchair], p=[0.62, 0.25, 0.13])
    return make(rng)


def straight_chair(rng: Rng) -> Piece:
    """Seat on four legs, a leaning back between two posts."""
    seat_height, top = rng.uniform(0.42, 0.48), rng.uniform(0.82, 1.05)
    width, depth = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5)
    wood, seat, thick = random_material(rng), random_material(rng), rng.uniform(0.03, 0.05)
    parts = [box(seat, (width, thick, depth), (0, seat_height - thick, 0))]
    parts += legs(wood, (width, depth), seat_height - thick, thick, rng.random() < 0.4)
    back = (width, top - seat_height, thick)
    at = (0, seat_height, (depth - thick) / 2)
    parts += _backrest(rng, wood, seat, back, at, lean=rng.uniform(0.0, 0.1))
    return piece("chair", parts)


def _backrest(
    rng: Rng, wood: Material, seat: Material, size: Triple, at: Triple, lean: float
) -> list[Part]:
    """Two posts with a panel, with rungs or with sticks under a rail between them."""
    (width, tall, thick), (_, low, z) = size, at
    middle = z + tall * lean / 2
    parts = [
        box(wood, (thick, tall, thick), (x * (width - thick) / 2, low, middle), pitch=lean)
        for x in (-1, 1)
    ]
    style = rng.integers(3)
    if style == 0:
        panel = (width - thick, 0.65 * tall, 0.025)
        parts.append(box(seat, panel, (0, low + 0.33 * tall, z + 0.65 * tall * lean), pitch=lean))
    elif style == 1:
        for share in (0.3, 0.6, 0.85):
            rung = (0, low + share * tall, z + share * tall * lean)
            parts.append(box(wood, (width - thick, 0.06, 0.02), rung, pitch=lean))
    else:
        rail = (0, low + tall - 0.07, z + 0.92 * tall * lean)
        parts.append(box(wood, (width, 0.07, thick), rail, pitch=lean))
        for x in np.linspace(-0.3, 0.3, 4) * width:
            stick = (0.02, tall - 0.05, 0.02)
            parts.append(cylinder(wood, stick, (x, low, middle), pitch=lean))
    return parts


def office_chair(rng: Rng) -> Piece:
    cloth, frame = random_material(rng), metal(rng)
    height, width = rng.uniform(0.43, 0.52), rng.uniform(0.45, 0.52)
    parts = [
        box(cloth, (width, 0.08, width), (0, height - 0.08, 0)),
        box(
            cloth,
            (width - 0.04, rng.uniform(0.4, 0.6), 0.07),
            (0, height + 0.12, width / 2),
            pitch=0.12,
        ),
        box(frame, (0.06, 0.3, 0.02), (0, height - 0.06, width / 2)),
        cylinder(frame, (0.06, height - 0.16, 0.06), (0, 0.09, 0)),
    ]
    for angle in np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 1):
        x, z = 0.15 * np.sin(angle), 0.15 * np.cos(angle)
        parts.append(box(frame, (0.04, 0.03, 0.3), (x, 0.06, z), yaw=angle))
        parts.append(ball(frame, (0.06, 0.06, 0.06), (1.9 * x, 0, 1.9 * z)))
    if rng.random() < 0.6:
        for side in (-1, 1):
            x = side * (width / 2 + 0.02)
            parts.append(box(frame, (0.05, 0.03, 0.28), (x, height + 0.17, 0.05)))
            parts.append(box(frame, (0.03, 0.22, 0.05), (x, height - 0.05, 0.08)))
    return piece("chair", parts)


def armchair(rng: Rng) -> Piece:
    return piece("chair", _upholstered(rng, seats=1))


def sofa(rng: Rng) -> Piece:
    seats = int(rng.integers(2, 4))
    parts = _upholstered(rng, seats)
    made = piece("sofa", parts)
    return piece("sofa", parts, top=surface(made.width - 0.5, 0.3, _SEAT, z=0.05))


_SEAT = 0.44


def _upholstered(rng: Rng, seats: int) -> list[Part]:
    cloth, feet = random_material(rng), metal(rng)
    cushion = random_material(rng) if rng.random() < 0.4 else cloth
    seat, depth = rng.uniform(0.55, 0.7), rng.uniform(0.8, 0.95)
    arm, arm_height = rng.uniform(0.12, 0.24), rng.uniform(0.55, 0.66)
    back, rolled = rng.uniform(0.75, 0.92), rng.random() < 0.5
    inner = seats * seat
    width = inner + 2 * arm
    parts = [
        box(cloth, (width, 0.22, depth - 0.02), (0, 0.08, 0)),
        box(cloth, (inner + 0.02, back - 0.3, 0.2), (0, 0.3, depth / 2 - 0.12)),
    ]
    for side in (-1, 1):
        x = side * (width - arm) / 2
        parts.append(box(cloth, (arm, arm_height - 0.08, depth), (x, 0.08, 0)))
        if rolled:
            roll = (arm * 1.1, depth, arm * 0.8)
            at = (x, arm_height - depth / 2, 0)
            parts.append(cylinder(cloth, roll, at, pitch=np.pi / 2))
        for z in (-1, 1):
            parts.append(cylinder(feet, (0.05, 0.08, 0.05), (x, 0, z * (depth / 2 - 0.08))))
    for i in range(seats):
        x = (i - (seats - 1) / 2) * seat
        parts.append(box(cushion, (seat - 0.015, _SEAT - 0.3, depth - 0.2), (x, 0.3, -0.1)))
        height = back - _SEAT + 0.04
        parts.append(
            box(cushion, (seat - 0.02, height, 0.14), (x, _SEAT, depth / 2 - 0.27), pitch=0.15)
        )
    return parts


def bookshelf(rng: Rng, width: float | None = None) -> Piece:
    """Boards with an open front; the books on them are things of their own (see ``books``)."""
    width = width or rng.uniform(0.7, 1.4)
    return piece(
        "bookshelf", _boards(rng, width, rng.uniform(1.3, 2.1), 0.3, int(rng.integers(4, 7)))
    )


def shelves(rng: Rng) -> Piece:
    return piece("shelves", _boards(rng, rng.uniform(0.6, 1.2), rng.uniform(0.8, 1.8), 0.4, 4))


def _boards(rng: Rng, width: float, height: float, depth: float, count: int) -> list[Part]:
    wood, thick = random_material(rng), 0.022
    parts = [
        box(wood, (thick, height, depth), (-(width - thick) / 2, 0, 0)),
        box(wood, (thick, height, depth), ((width - thick) / 2, 0, 0)),
        box(wood, (width - thick, height, 0.01), (0, 0, depth / 2 - 0.005)),
    ]
    for level in shelf_levels(height, count):
        parts.append(box(wood, (width - thick, thick, depth - 0.005), (0, level, 0)))
    parts.append(box(wood, (width, thick, depth), (0, height - thick, 0)))
    return parts


def shelf_levels(height: float, count: int) -> np.ndarray:
    return np.linspace(0.06, height - 0.022, count + 1)[:-1]


def books(rng: Rng, width: float, height: float, depth: float = 0.2) -> Piece:
    """A row of upright books of a given width, at most ``height`` tall, some leaning."""
    parts, x = [], -width / 2
    covers = [random_material(rng, ("plain", "plain", "stripes")) for _ in range(5)]
    while x < width / 2 - 0.02:
        thick = min(rng.uniform(0.018, 0.06), width / 2 - x)
        size = (thick * 0.96, height * rng.uniform(0.65, 0.97), depth * rng.uniform(0.8, 1.0))
        parts.append(box(covers[rng.integers(5)], size, (x + thick / 2, 0, 0)))
        x += thick
    return piece("books", parts)


def floor_lamp(rng: Rng) -> Piece:
    pole, height, shade = metal(rng), rng.uniform(1.4, 1.8), rng.uniform(0.3, 0.45)
    tall = rng.uniform(0.2, 0.35)
    parts = [
        cylinder(pole, (0.28, 0.03, 0.28), (0, 0, 0)),
        cylinder(pole, (0.03, height - tall / 2, 0.03), (0, 0, 0)),
        cylinder(
            _shade(rng), (shade, tall, shade), (0, height - tall, 0), top=rng.uniform(0.45, 0.95)
        ),
    ]
    return piece("lamp", parts)


def table_lamp(rng: Rng) -> Piece:
    foot, height = random_material(rng), rng.uniform(0.38, 0.6)
    shade, tall = rng.uniform(0.22, 0.36), height * rng.uniform(0.38, 0.5)
    stem = height - tall
    parts = [cylinder(foot, (0.14, 0.02, 0.14), (0, 0, 0))]
    if rng.random() < 0.5:
        parts.append(ball(foot, (0.15, stem * 0.8, 0.15), (0, 0.01, 0)))
    parts.append(cylinder(foot, (0.03, stem + 0.03, 0.03), (0, 0, 0)))
    parts.append(
        cylinder(_shade(rng), (shade, tall, shade), (0, stem, 0), top=rng.uniform(0.4, 0.9))
    )
    return piece("lamp", parts)


def _shade(rng: Rng) -> Material:
    return glowing(rng, 0.8, 2.2) if rng.random() < 0.5 else random_material(rng)


def garbage_bin(rng: Rng) -> Piece:
    body, width, height = random_material(rng), rng.uniform(0.24, 0.36), rng.uniform(0.3, 0.6)
    if rng.random() < 0.6:
        parts = [cup(body, (width, height, width * rng.uniform(0.8, 1.0)), (0, 0, 0), top=1.25)]
        parts.append(cylinder(body, (width, 0.01, width), (0, 0, 0)))
    else:
        lid = random_material(rng)
        parts = [
            box(body, (width, height, width * 0.8), (0, 0, 0)),
            box(lid, (width + 0.03, 0.05, width * 0.8 + 0.03), (0, height, 0)),
            box(metal(rng), (0.12, 0.03, 0.03), (0, 0.01, -width * 0.4 - 0.015)),
        ]
    return piece("garbage bin", parts)
