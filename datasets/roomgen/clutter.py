"""Small things of no detection class, by name, and a way to strew them over a surface."""

from collections.abc import Callable, Sequence

import numpy as np

from roomgen.electronics import keyboard, laptop, monitor, television
from roomgen.furniture_living import books, table_lamp
from roomgen.materials import glowing, plain, random_material
from roomgen.parts import Extent, Part, Piece, ball, box, cup, cylinder, piece

Rng = np.random.Generator


def book(rng: Rng) -> Piece:
    """Up to three, lying."""
    parts: list[Part] = []
    up = 0.0
    for _ in range(rng.integers(1, 4)):
        size = (rng.uniform(0.14, 0.24), rng.uniform(0.015, 0.05), rng.uniform(0.18, 0.28))
        parts.append(box(random_material(rng), size, (0, up, 0), yaw=rng.normal(0, 0.15)))
        up += size[1]
    return piece("book", parts)


def bottle(rng: Rng) -> Piece:
    wide, tall, glass = rng.uniform(0.05, 0.09), rng.uniform(0.18, 0.32), random_material(rng)
    parts = [
        cylinder(glass, (wide, 0.6 * tall, wide), (0, 0, 0)),
        cylinder(glass, (wide, 0.15 * tall, wide), (0, 0.6 * tall, 0), top=0.4),
        cylinder(random_material(rng), (0.4 * wide, 0.25 * tall, 0.4 * wide), (0, 0.75 * tall, 0)),
    ]
    return piece("bottle", parts)


def drinking_cup(rng: Rng) -> Piece:
    china, wide = random_material(rng), rng.uniform(0.06, 0.09)
    handle = box(china, (0.03, 0.05, 0.012), (wide * 0.6, 0.02, 0))
    return piece(
        "cup", [cup(china, (wide, rng.uniform(0.07, 0.11), wide), (0, 0, 0), top=1.15), handle]
    )


def bowl(rng: Rng) -> Piece:
    china, wide = random_material(rng), rng.uniform(0.08, 0.14)
    parts = [cup(china, (wide, 0.08, wide), (0, 0, 0), top=2.0)]
    if rng.random() < 0.5:
        fruit = random_material(rng)
        for x, z in ((0, 0.04), (-0.04, -0.03), (0.04, -0.02)):
            parts.append(ball(fruit, (0.075, 0.075, 0.075), (x, 0.03, z)))
    return piece("bowl", parts)


def plate(rng: Rng) -> Piece:
    wide = rng.uniform(0.13, 0.18)
    return piece("plate", [cup(random_material(rng), (wide, 0.02, wide), (0, 0, 0), top=1.5)])


def vase(rng: Rng) -> Piece:
    china, wide, tall = random_material(rng), rng.uniform(0.08, 0.16), rng.uniform(0.15, 0.35)
    parts = [
        cup(china, (0.6 * wide, 0.55 * tall, 0.6 * wide), (0, 0, 0), top=1.7),
        cylinder(china, (wide, 0.45 * tall, wide), (0, 0.55 * tall, 0), top=0.5),
    ]
    if rng.random() < 0.6:
        parts += _leaves(rng, tall, count=6, reach=0.1)
    return piece("vase", parts)


def plant(rng: Rng, big: bool = False) -> Piece:
    scale = rng.uniform(2.0, 3.5) if big else rng.uniform(0.7, 1.2)
    pot = 0.14 * scale
    parts = [cup(random_material(rng), (0.7 * pot, 0.13 * scale, 0.7 * pot), (0, 0, 0), top=1.4)]
    parts.append(
        cylinder(plain((0.05, 0.03, 0.02)), (0.75 * pot, 0.11 * scale, 0.75 * pot), (0, 0, 0))
    )
    parts += _leaves(rng, 0.13 * scale, count=14 if big else 8, reach=0.11 * scale)
    return piece("plant", parts)


def _leaves(rng: Rng, bottom: float, count: int, reach: float) -> list[Part]:
    green = plain(np.array([0.12, 0.3, 0.08]) * rng.uniform(0.3, 1.6, 3))
    parts = []
    for _ in range(count):
        yaw, tilt, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.0), rng.uniform(0.8, 2.4)
        x, z = 0.6 * reach * tilt * np.sin(yaw), 0.6 * reach * tilt * np.cos(yaw)
        size = (0.5 * reach, length * reach, 0.08 * reach)
        parts.append(ball(green, size, (x, bottom - 0.1 * reach, z), yaw=yaw, pitch=tilt))
    return parts


def carton(rng: Rng, scale: float = 1.0) -> Piece:
    """The class "box": closed with a strip of tape, or open with flaps."""
    card = random_material(rng)
    w, h, d = (
        scale * rng.uniform(0.25, 0.5),
        scale * rng.uniform(0.18, 0.4),
        scale * rng.uniform(0.2, 0.4),
    )
    parts = [box(card, (w, h, d), (0, 0, 0))]
    if rng.random() < 0.4:
        for side in (-1, 1):
            at = (0, h - d * 0.2 + 0.1 * d, side * d * 0.62)
            parts.append(box(card, (w, 0.006, 0.45 * d), at, pitch=-side * 0.6))
    else:
        parts.append(box(random_material(rng, ("plain",)), (w + 0.002, 0.003, 0.055), (0, h, 0)))
    return piece("box", parts)


def bag(rng: Rng) -> Piece:
    cloth = random_material(rng)
    w, h, d = rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.45), rng.uniform(0.14, 0.22)
    parts = [box(cloth, (w, 0.6 * h, d), (0, 0, 0)), ball(cloth, (w, h, d * 1.1), (0, 0.03, 0))]
    for x in (-0.2, 0.2):
        parts.append(box(cloth, (0.03, 0.2, 0.02), (x * w, h - 0.06, 0)))
    return piece("bag", parts)


def ball_toy(rng: Rng) -> Piece:
    wide = rng.uniform(0.1, 0.26)
    return piece("ball", [ball(random_material(rng), (wide, wide, wide), (0, 0, 0))])


def stuffed_animal(rng: Rng) -> Piece:
    fur, s = random_material(rng), rng.uniform(0.7, 1.4)
    parts = [
        ball(fur, (0.2 * s, 0.24 * s, 0.18 * s), (0, 0, 0)),
        ball(fur, (0.17 * s, 0.17 * s, 0.17 * s), (0, 0.2 * s, -0.01)),
    ]
    for x in (-1, 1):
        parts.append(ball(fur, (0.07 * s,) * 3, (x * 0.07 * s, 0.33 * s, 0)))
        parts.append(ball(fur, (0.08 * s, 0.08 * s, 0.16 * s), (x * 0.08 * s, 0, -0.12 * s)))
    return piece("stuffed animal", parts)


def toy_cubes(rng: Rng) -> Piece:
    parts = []
    for i in range(rng.integers(2, 6)):
        x, z, up = ((i % 3) - 1) * 0.08, 0.0, (i // 3) * 0.07
        at = (x + rng.normal(0, 0.008), up, z)
        parts.append(box(random_material(rng), (0.07, 0.07, 0.07), at, yaw=rng.uniform(-0.4, 0.4)))
    return piece("toy cube", parts)


def simple(name: str, low: tuple[float, float, float], high: tuple[float, float, float]):
    """A builder of plain blocks with a lid or front: radios, towels, papers, toasters …"""

    def build(rng: Rng) -> Piece:
        w, h, d = rng.uniform(low, high)
        parts = [box(random_material(rng), (w, h, d), (0, 0, 0))]
        if h > 0.06:
            face = (0.8 * w, 0.6 * h, 0.01)
            parts.append(box(random_material(rng), face, (0, 0.2 * h, -d / 2 - 0.004)))
        return piece(name, parts)

    return build


def candle(rng: Rng) -> Piece:
    wide, tall = rng.uniform(0.04, 0.08), rng.uniform(0.06, 0.2)
    parts = [
        cylinder(random_material(rng), (wide, tall, wide), (0, 0, 0)),
        ball(glowing(rng, 1.0, 2.5), (0.015, 0.03, 0.015), (0, tall, 0)),
    ]
    return piece("candle", parts)


CLUTTER: dict[str, Callable[[Rng], Piece]] = {
    "book": book,
    "books": lambda rng: books(rng, rng.uniform(0.15, 0.4), 0.24),
    "bottle": bottle,
    "cup": drinking_cup,
    "bowl": bowl,
    "plate": plate,
    "vase": vase,
    "plant": plant,
    "candle": candle,
    "monitor": monitor,
    "keyboard": keyboard,
    "laptop": laptop,
    "box": lambda rng: carton(rng, scale=0.7),
    "bag": bag,
    "ball": ball_toy,
    "stuffed animal": stuffed_animal,
    "toy cube": toy_cubes,
    "lamp": table_lamp,
    "television": television,
    "mouse": simple("mouse", (0.06, 0.03, 0.1), (0.07, 0.04, 0.12)),
    "paper": simple("paper", (0.2, 0.003, 0.27), (0.25, 0.03, 0.31)),
    "telephone": simple("telephone", (0.16, 0.06, 0.18), (0.2, 0.1, 0.22)),
    "computer": simple("computer", (0.18, 0.38, 0.4), (0.22, 0.46, 0.48)),
    "printer": simple("printer", (0.38, 0.2, 0.32), (0.5, 0.35, 0.42)),
    "speaker": simple("speaker", (0.12, 0.2, 0.12), (0.22, 0.4, 0.22)),
    "radio": simple("radio", (0.2, 0.12, 0.1), (0.35, 0.2, 0.16)),
    "alarm clock": simple("alarm clock", (0.1, 0.07, 0.05), (0.18, 0.11, 0.08)),
    "dvd player": simple("dvd player", (0.35, 0.04, 0.22), (0.43, 0.08, 0.3)),
    "tissue box": simple("tissue box", (0.12, 0.08, 0.12), (0.24, 0.13, 0.14)),
    "microwave": simple("microwave", (0.44, 0.26, 0.32), (0.52, 0.32, 0.4)),
    "toaster": simple("toaster", (0.25, 0.17, 0.15), (0.32, 0.22, 0.19)),
    "towel": simple("towel", (0.25, 0.03, 0.2), (0.4, 0.12, 0.3)),
    "soap": simple("soap", (0.06, 0.025, 0.04), (0.09, 0.04, 0.06)),
    "magazine": simple("magazine", (0.2, 0.004, 0.26), (0.23, 0.02, 0.3)),
    "toy car": simple("toy car", (0.1, 0.07, 0.18), (0.16, 0.12, 0.3)),
}


def strew(
    rng: Rng, top: Extent, names: Sequence[str], count: int, taken: Sequence[Piece] = ()
) -> list[Piece]:
    """Up to ``count`` things on a surface, apart from each other and from what stands there."""
    placed: list[Piece] = []
    for name in rng.choice(names, size=count):
        thing = CLUTTER[str(name)](rng)
        room_x = top.half_width - thing.extent.half_width
        room_z = top.half_depth - thing.extent.half_depth
        if room_x < 0 or room_z < 0:
            continue
        for _ in range(6):
            x, z = top.x + rng.uniform(-room_x, room_x), top.z + rng.uniform(-room_z, room_z)
            moved = thing.moved(x=x, z=z, up=top.bottom, yaw=rng.normal(0, 0.12))
            others = [*placed, *taken]
            if not any(moved.extent.overlaps(o.extent, tolerance=0.0) for o in others):
                placed.append(moved)
                break
    return placed
