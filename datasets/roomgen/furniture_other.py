"""Things on walls, and equipment of a room for exercise."""

import numpy as np

from roomgen.electronics import screen
from roomgen.materials import metal, plain, random_material
from roomgen.parts import Piece, ball, box, cylinder, piece

Rng = np.random.Generator


def picture(rng: Rng) -> Piece:
    width, height = rng.uniform(0.25, 0.9), rng.uniform(0.25, 0.8)
    art = random_material(rng, ("clouds", "patches", "stripes", "checks", "dots", "wood"))
    border = rng.uniform(0.04, 0.12)
    parts = [
        box(random_material(rng), (width, height, 0.025), (0, 0, 0)),
        box(art, (width - border, height - border, 0.006), (0, border / 2, -0.014)),
    ]
    return piece("picture", parts)


def clock(rng: Rng) -> Piece:
    wide, dark = rng.uniform(0.22, 0.34), plain((0.02, 0.02, 0.02))
    parts = [
        cylinder(
            random_material(rng), (wide, 0.04, wide), (0, wide / 2 - 0.02, 0), pitch=np.pi / 2
        ),
        box(dark, (0.015, 0.4 * wide, 0.005), (0, wide / 2, -0.023)),
        box(dark, (0.3 * wide, 0.015, 0.005), (0.13 * wide, wide / 2, -0.023)),
    ]
    return piece("clock", parts)


def whiteboard(rng: Rng) -> Piece:
    width, height = rng.uniform(1.4, 3.0), rng.uniform(0.9, 1.2)
    face = plain(rng.uniform(0.4, 0.9) * rng.uniform(0.9, 1.0, 3), gloss=0.4)
    if rng.random() < 0.4:
        face = random_material(rng, ("plain",))
    frame = metal(rng)
    parts = [
        box(frame, (width, height, 0.03), (0, 0, 0)),
        box(face, (width - 0.08, height - 0.08, 0.006), (0, 0.04, -0.016)),
        box(frame, (width * 0.8, 0.02, 0.07), (0, -0.01, -0.04)),
    ]
    return piece("whiteboard", parts)


def hanging_towel(rng: Rng) -> Piece:
    width, tall = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.7)
    rod = cylinder(
        metal(rng), (0.02, width + 0.1, 0.02), (0, tall - width / 2 - 0.06, 0), roll=np.pi / 2
    )
    return piece("towel", [rod, box(random_material(rng), (width, tall, 0.035), (0, 0, 0))])


def exercise_ball(rng: Rng) -> Piece:
    wide = rng.uniform(0.55, 0.75)
    return piece("excercise ball", [ball(random_material(rng), (wide, wide, wide), (0, 0, 0))])


def treadmill(rng: Rng) -> Piece:
    frame, belt = random_material(rng), random_material(rng, ("plain", "speckle"))
    parts = [
        box(frame, (0.75, 0.18, 1.6), (0, 0, 0)),
        box(belt, (0.5, 0.01, 1.4), (0, 0.18, -0.08)),
        box(frame, (0.75, 0.12, 0.25), (0, 1.15, 0.6), pitch=-0.5),
        box(screen(rng), (0.3, 0.01, 0.16), (0, 1.28, 0.57), pitch=-0.5),
    ]
    for x in (-0.34, 0.34):
        parts.append(box(frame, (0.06, 1.1, 0.1), (x, 0.15, 0.65)))
        parts.append(cylinder(frame, (0.04, 0.6, 0.04), (x, 0.75, 0.35), pitch=np.pi / 2))
    return piece("treadmill", parts)


def hand_weight(rng: Rng) -> Piece:
    iron, wide = random_material(rng), rng.uniform(0.1, 0.2)
    parts = [cylinder(metal(rng), (0.03, 0.34, 0.03), (0, wide / 2 - 0.17, 0), roll=np.pi / 2)]
    for x in (-0.11, 0.11):
        at = (x, wide / 2 - 0.04, 0)
        parts.append(cylinder(iron, (wide, 0.08, wide), at, roll=np.pi / 2))
    return piece("hand weight", parts)


def bench(rng: Rng) -> Piece:
    cloth, frame = random_material(rng), metal(rng)
    parts = [box(cloth, (0.3, 0.08, 1.2), (0, 0.4, 0))]
    for z in (-0.45, 0.45):
        parts.append(box(frame, (0.05, 0.4, 0.05), (0, 0, z)))
        parts.append(box(frame, (0.5, 0.05, 0.05), (0, 0, z)))
    return piece("bench", parts)


def floor_mat(rng: Rng) -> Piece:
    size = (rng.uniform(0.5, 1.8), 0.012, rng.uniform(0.5, 1.2))
    return piece("floor mat", [box(random_material(rng), size, (0, 0, 0))])
