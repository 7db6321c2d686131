"""Televisions, monitors and other things with a screen."""

import numpy as np

from roomgen.furniture_living import drawers
from roomgen.materials import Material, glowing, metal, plain, random_material
from roomgen.parts import Piece, box, cylinder, legs, piece, surface

Rng = np.random.Generator


def television(rng: Rng, on_wall: bool = False) -> Piece:
    """A wide dark screen in a frame, on a foot or flat on the wall; seldom an old tube."""
    frame, width = metal(rng), rng.uniform(0.7, 1.4)
    height = width * 0.58
    if not on_wall and rng.random() < 0.25:
        width, height, shell = 0.65, 0.52, random_material(rng)
        parts = [
            box(shell, (width, height, 0.2), (0, 0, -0.12)),
            cylinder(
                shell, (0.5, 0.3, 0.42), (0, height / 2 - 0.15, 0.1), pitch=np.pi / 2, top=0.6
            ),
            box(screen(rng), (width - 0.12, height - 0.14, 0.01), (0, 0.09, -0.222)),
        ]
        return piece("television", parts)
    base = 0.0 if on_wall else 0.07
    parts = [
        box(frame, (width, height, 0.05), (0, base, 0)),
        box(screen(rng), (width - 0.06, height - 0.06, 0.006), (0, base + 0.03, -0.027)),
    ]
    if not on_wall:
        parts.append(box(frame, (0.4 * width, 0.015, 0.22), (0, 0, 0)))
        parts.append(box(frame, (0.1 * width, base, 0.04), (0, 0, 0)))
    return piece("television", parts)


def screen(rng: Rng) -> Material:
    """Off (dark and glossy) or showing something."""
    if rng.random() < 0.55:
        return plain(rng.uniform(0.004, 0.03, 3), gloss=0.9)
    return glowing(
        rng, 0.4, 1.1, texture=str(rng.choice(["patches", "plain", "clouds", "stripes"]))
    )


def tv_stand(rng: Rng) -> Piece:
    width, height, depth = rng.uniform(0.9, 1.7), rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.5)
    body, handle = random_material(rng), metal(rng)
    parts = [box(body, (width, height - 0.06, depth), (0, 0.06, 0))]
    parts += legs(handle, (width - 0.1, depth - 0.1), 0.06, 0.04)
    for x in (-width / 4, width / 4):
        parts += drawers(rng, body, handle, width / 2, (0.08, height - 0.02), 1, x, -depth / 2)
    return piece("tv stand", parts, top=surface(width, depth, height))


def monitor(rng: Rng) -> Piece:
    shell, width = random_material(rng, ("plain",)), rng.uniform(0.42, 0.6)
    height, stand = width * rng.uniform(0.58, 0.78), rng.uniform(0.1, 0.16)
    parts = [
        cylinder(shell, (0.24, 0.02, 0.2), (0, 0, 0)),
        box(shell, (0.06, stand + 0.1, 0.04), (0, 0, 0.03)),
        box(shell, (width, height, 0.045), (0, stand, 0)),
        box(screen(rng), (width - 0.045, height - 0.045, 0.005), (0, stand + 0.022, -0.024)),
    ]
    if rng.random() < 0.15:
        parts.append(
            cylinder(
                shell,
                (0.9 * width, 0.3, 0.9 * height),
                (0, stand + height / 2 - 0.15, 0.16),
                pitch=np.pi / 2,
                top=0.6,
            )
        )
    return piece("monitor", parts)


def keyboard(rng: Rng) -> Piece:
    body = random_material(rng, ("plain",))
    keys = random_material(rng, ("checks",))
    size = (0.43, 0.015, 0.14)
    return piece(
        "keyboard", [box(body, size, (0, 0, 0)), box(keys, (0.4, 0.005, 0.11), (0, 0.015, 0))]
    )


def laptop(rng: Rng) -> Piece:
    shell = random_material(rng, ("plain",))
    parts = [
        box(shell, (0.34, 0.02, 0.24), (0, 0, 0)),
        box(shell, (0.34, 0.23, 0.012), (0, 0.02, 0.15), pitch=0.25),
        box(screen(rng), (0.31, 0.2, 0.004), (0, 0.035, 0.142), pitch=0.25),
    ]
    return piece("laptop", parts)
