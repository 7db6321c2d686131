"""Render frame ``index`` of the embedded data: a pure function of (seed, index, size, style)."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from roomgen.camera import intrinsics, inverse_pose
from roomgen.coverings import Range
from roomgen.frame import Frame, RoomObject
from roomgen.layouts import Layout, furnish, scene_type_of
from roomgen.materials import MaterialTable
from roomgen.primitives import Primitives
from roomgen.raster import rasterise, surfaces
from roomgen.shading import Lamp, Lighting, photograph, radiance
from roomgen.styles import STYLES
from roomgen.viewpoint import choose_viewpoint

FRAMES_PER_SEQUENCE = 3

# Part of the recipe in the JSON files: raise it when the same seed gives other files. Version 1 had
# the style "plain" alone; up to version 2 there were no classes of pixels and no edges. The
# pictures of both are the same today.
GENERATOR_VERSION = 3

# Streams of random numbers; each is seeded by (seed, sequence, stream, ...), see _generator.
_LAYOUT, _LIGHTING, _VIEW, _PHOTOGRAPH, _LOOK, _ZOOM = range(6)


@dataclass(frozen=True)
class Room:
    """A layout as arrays for the renderer; N primitives."""

    layout: Layout
    primitives: Primitives
    owner: np.ndarray  # (N,) index of the piece
    materials: MaterialTable  # one entry a primitive
    lighting: Lighting
    zoom: float  # of the camera, see camera.intrinsics


def _generator(style: str, seed: int, sequence: int, stream: int, *view: int):
    return np.random.default_rng([seed, sequence, STYLES[style].stream + stream, *view])


def room_layout(seed: int, sequence: int, style: str = "typical") -> Layout:
    """Return the furnished room of a sequence, before anything is rendered."""
    scene_type = scene_type_of(seed, sequence)
    look = STYLES[style].look(_generator(style, seed, sequence, _LOOK), scene_type)
    rng = _generator(style, seed, sequence, _LAYOUT)
    return furnish(rng, scene_type, look, STYLES[style])


@lru_cache(maxsize=2)
def build_room(seed: int, sequence: int, style: str) -> Room:
    layout = room_layout(seed, sequence, style)
    parts = [part for piece in layout.pieces for part in piece.parts]
    primitives = Primitives(
        kind=np.array([part.kind for part in parts]),
        taper=np.array([part.taper for part in parts]),
        centre=np.stack([part.centre for part in parts]),
        half=np.stack([part.half for part in parts]),
        rotation=np.stack([part.rotation for part in parts]),
    )
    sizes = [len(piece.parts) for piece in layout.pieces]
    return Room(
        layout=layout,
        primitives=primitives,
        owner=np.repeat(np.arange(len(sizes)), sizes),
        materials=MaterialTable([part.material for part in parts]),
        lighting=_light(_generator(style, seed, sequence, _LIGHTING), layout),
        zoom=_generator(style, seed, sequence, _ZOOM).uniform(*layout.style.camera.zoom),
    )


def render_frame(seed: int, index: int, height: int, width: int, style: str = "typical") -> Frame:
    """Return one view with its exact ground truth."""
    sequence, view = divmod(index, FRAMES_PER_SEQUENCE)
    room = build_room(seed, sequence, style)
    rng = _generator(style, seed, sequence, _VIEW, view)
    camera_to_world = choose_viewpoint(rng, room.layout, room.zoom)
    world_to_camera = inverse_pose(camera_to_world)
    matrix = intrinsics(height, width, room.zoom)
    primitives = room.primitives.moved(world_to_camera)
    hits = rasterise(primitives, room.owner, matrix, height, width)
    surface = surfaces(primitives, hits, matrix)
    primitive = hits.primitive.ravel()
    linear = radiance(
        surface,
        material=primitive,
        table=room.materials,
        lighting=_seen_from(room.lighting, world_to_camera),
        casters=_casters(primitives, room.materials),
        shape=(height, width),
        focal_length=float(matrix[0, 0]),
    )
    image = photograph(linear, _generator(style, seed, sequence, _PHOTOGRAPH, view))
    in_view = np.flatnonzero(hits.full_pixels)
    number = np.zeros(len(hits.full_pixels), np.uint16)
    number[in_view] = np.arange(1, len(in_view) + 1)
    names = [piece.name for piece in room.layout.pieces]
    scene_type = room.layout.scene_type
    return Frame(
        image=image,
        depth=hits.depth.astype(np.float32),
        normals=surface.normal.reshape(height, width, 3).astype(np.float32),
        instances=number[room.owner[hits.primitive]],
        objects=tuple(RoomObject(names[i], int(hits.full_pixels[i])) for i in in_view),
        scene_type=scene_type,
        sequence=f"{scene_type}_{sequence + 1:04d}",
        intrinsics=matrix,
        camera_to_world=camera_to_world,
    )


def _light(rng: np.random.Generator, layout: Layout) -> Lighting:
    """Lamps under the ceiling or by a window, warm or cold, and ambient light."""
    lamps, look = [], layout.look
    windows = [piece for piece in layout.pieces if piece.name == "window"]
    for i in range(rng.integers(*look.lamps, endpoint=True)):
        x, z = rng.uniform(-0.4, 0.4, 2) * [layout.width, layout.depth]
        up = layout.height - rng.uniform(0.12, 0.5)
        if windows and i == 1:
            extent = windows[0].extent
            x, z, up = 0.8 * extent.x, 0.8 * extent.z, (extent.bottom + extent.top) / 2 + 0.3
        power = rng.uniform(0.3, 1.0) * _temperature(rng, look.warmth)
        lamps.append(Lamp(np.array([x, -up, z]), power))
    ambient = rng.uniform(*look.ambient) * _temperature(rng, look.warmth)
    return Lighting(tuple(lamps), ambient)


def _temperature(rng: np.random.Generator, warmth: Range) -> np.ndarray:
    """Linear RGB of white light between a bulb's orange and the sky's blue."""
    warm = rng.uniform(*warmth)
    return np.array([1 + 0.5 * warm, 1.0, 1 - 0.8 * warm])


def _seen_from(lighting: Lighting, world_to_camera: np.ndarray) -> Lighting:
    rotation, shift = world_to_camera[:3, :3], world_to_camera[:3, 3]
    lamps = tuple(
        replace(lamp, position=rotation @ lamp.position + shift) for lamp in lighting.lamps
    )
    return replace(lighting, lamps=lamps)


def _casters(primitives: Primitives, materials: MaterialTable) -> Primitives:
    """Return the primitives that cast shadows: all that emit no light."""
    dark = materials.glow == 0
    return Primitives(
        primitives.kind[dark],
        primitives.taper[dark],
        primitives.centre[dark],
        primitives.half[dark],
        primitives.rotation[dark],
    )
