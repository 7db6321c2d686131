"""The result of the renderer: one view of one room with its exact labels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RoomObject:
    """One thing, or one part of the building, that owns pixels of a frame.

    Attributes:
        name: one of the 894 names of NYUv2 ("chair", "garbage bin", "wall", "vase").
        full_pixels: pixels inside the image that it would cover if nothing stood before it.
    """

    name: str
    full_pixels: int


@dataclass(frozen=True)
class Frame:
    """A rendered view; H x W pixels, camera axes x right, y down, z forward.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        depth: float32 (H, W), exact planar depth (z) in metres.
        normals: float32 (H, W, 3), exact unit vectors that face the camera (n_z < 0 on axis).
        instances: uint16 (H, W); value i > 0 belongs to ``objects[i - 1]``, 0 to nothing.
        objects: every object that the room holds in view, visible or not.
        scene_type: one of the 27 scene types of NYUv2.
        sequence: the room, named as NYUv2 names its videos: "kitchen_0004".
        intrinsics: float64 (3, 3) for 0-based pixel centres at this size.
        camera_to_world: float64 (4, 4); the world is x right, y down, z forward too, floor y = 0.
    """

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    instances: np.ndarray
    objects: tuple[RoomObject, ...]
    scene_type: str
    sequence: str
    intrinsics: np.ndarray
    camera_to_world: np.ndarray
