"""A small room whose depth, normals and instances are known without the renderer."""

from dataclasses import replace

import numpy as np
from roomgen.camera import intrinsics, pixel_rays
from roomgen.frame import Frame, RoomObject

HEIGHT, WIDTH = 480, 640
WALL_DEPTH = 4.0
EYE_HEIGHT = 1.2
# name, depth, rows, columns; later ones stand before earlier ones.
UPRIGHT_THINGS = (
    ("chair", 2.0, slice(200, 380), slice(100, 220)),
    ("chair", 1.5, slice(220, 400), slice(300, 420)),
    ("box", 2.5, slice(250, 320), slice(480, 560)),
    ("vase", 3.0, slice(100, 120), slice(500, 520)),
    ("vase", 3.0, slice(100, 120), slice(540, 560)),
)
OBJECTS = ("wall", "floor", *(thing[0] for thing in UPRIGHT_THINGS), "garbage bin")


def synthetic_frame(
    sequence: str = "kitchen_0004", scene_type: str = "kitchen", shift: int = 0
) -> Frame:
    """Wall, floor, five upright things and one that is hidden; ``shift`` moves the five right."""
    _, y = pixel_rays(intrinsics(HEIGHT, WIDTH), HEIGHT, WIDTH)
    depth = np.full((HEIGHT, WIDTH), WALL_DEPTH, dtype=np.float32)
    normals = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    normals[..., 2] = -1
    instances = np.ones((HEIGHT, WIDTH), dtype=np.uint16)
    on_floor = y * WALL_DEPTH > EYE_HEIGHT
    depth[on_floor] = (EYE_HEIGHT / y[on_floor])[:, None]
    normals[on_floor] = (0, -1, 0)
    instances[on_floor] = 2
    for index, (_, distance, rows, columns) in enumerate(UPRIGHT_THINGS, start=3):
        place = rows, slice(columns.start + shift, columns.stop + shift)
        depth[place] = distance
        # Turned about the vertical axis, so that no two components agree.
        normals[place] = (-0.6, 0, -0.8)
        instances[place] = index
    rng = np.random.default_rng(shift)
    image = np.repeat(np.repeat(rng.integers(0, 200, (48, 64, 3)), 10, axis=0), 10, axis=1)
    return Frame(
        image=image.astype(np.uint8),
        depth=depth,
        normals=normals,
        instances=instances,
        objects=tuple(RoomObject(name=name, full_pixels=1000) for name in OBJECTS),
        scene_type=scene_type,
        sequence=sequence,
        intrinsics=intrinsics(HEIGHT, WIDTH),
        camera_to_world=np.eye(4),
    )


def altered_frame(**changes) -> Frame:
    return replace(synthetic_frame(), **changes)
