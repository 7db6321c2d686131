#!/usr/bin/env python3
"""Convert Hypersim's official files to this project's tree.

    python datasets/prepare_hypersim.py --source hypersim_official --toolkit ml-hypersim
    python datasets/prepare_hypersim.py --source ... --toolkit ... --scenes ai_001_001 ai_001_002

The source holds the scenes' folders, ai_VVV_NNN; the toolkit is a clone of Hypersim's repository,
whose tables say how frames are split, what scenes show and what cameras saw them. A run that was
killed continues where it stopped. docs/DATASETS.md describes the data sets, README.md beside this
file the files.
"""

import csv
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from conversion import Converted, add_options, convert, save_frame
from dataset_tree import DatasetTree, object_annotations

from rock_d2.data.datasets.hypersim import SCENE_CLASSES, SPLITS, STUFF_CLASSES, THING_CLASSES
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.tasks.class_maps import UNKNOWN
from rock_d2.tasks.normals import normalise

CONVERTER_VERSION = 2
SPLIT_TABLE = "evermotion_dataset/analysis/metadata_images_split_scene_v1.csv"
SCENE_TABLE = "evermotion_dataset/analysis/metadata_camera_trajectories.csv"
CAMERA_TABLE = "contrib/mikeroberts3000/metadata_camera_parameters.csv"

# scene_generate_images_tonemap.py: this percentile of the brightness becomes this value.
PERCENTILE, BRIGHTNESS, GAMMA = 90, 0.8, 1 / 2.2
DARKEST = 0.0001
# What files can hold, in metres; windows show more.
FARTHEST = 65.5


class Camera(NamedTuple):
    """A pinhole camera that sees what Hypersim's, which may be tilted and shifted, sees.

    Attributes:
        axes: (3, 3), right, down and forward, in the axes of Hypersim's: x right, y up, z back.
        rays: (H, W, 3), through the pixels' centres, by its own axes, with z = 1.
        intrinsics: fx, fy, cx, cy. Where the sensor's sides are not perpendicular they leave out
            the skew, and are exact on average over the rows.
    """

    axes: np.ndarray
    rays: np.ndarray
    intrinsics: list[float]


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("--source", type=Path, required=True, help="folder of the scenes")
    add("--toolkit", type=Path, required=True, help="clone of Hypersim's repository")
    add("--scenes", nargs="+", help="convert these alone (default: all that the source has)")
    add_options(parser, "hypersim")
    with one_line_errors():
        args = parse(parser, argv)
        splits = find_frames(args.source, args.toolkit, args.scenes)
        tree = DatasetTree(args.root / "hypersim", args.image_format, THING_CLASSES)
        work = functools.partial(convert_frame, source=args.source, toolkit=args.toolkit, tree=tree)
        info = {"description": "Hypersim", "converter_version": CONVERTER_VERSION}
        info["image_format"] = args.image_format
        convert(tree, splits, work, info=info, jobs=args.jobs, overwrite=args.overwrite)


@functools.cache
def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file that has some columns."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; --toolkit must name Hypersim's repository")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(
            f"{path}: is no CSV file ({problem}); clone Hypersim's repository again"
        ) from None
    missing = [name for name in columns if not rows or rows[0].get(name) is None]
    if missing:
        raise ValueError(f"{path}: has no column {missing[0]}; clone Hypersim's repository again")
    return rows


def find_frames(source: Path, toolkit: Path, scenes: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the released frames of some scenes, as <scene>_<camera>_<frame>, by data set."""
    columns = ("scene_name", "camera_name", "frame_id", "included_in_public_release")
    rows = read_table(toolkit / SPLIT_TABLE, *columns, "split_partition_name")
    released = [row for row in rows if row["included_in_public_release"] == "True"]
    names = {row["scene_name"] for row in released}
    present = {name for name in names if (source / name).is_dir()}
    chosen = present if scenes is None else set(scenes)
    if not chosen or chosen - present:
        wanted = ", ".join(sorted(chosen - present)) or "ai_001_001 or of another scene"
        raise FileNotFoundError(
            f"{source}: has no folder {wanted} with released frames; --source must name the "
            "folder of the scenes, --scenes some of them"
        )
    print(f"{len(chosen)} of Hypersim's {len(names)} scenes")
    splits: dict[str, list[str]] = {f"hypersim_{split}": [] for split in SPLITS}
    for row in released:
        if row["scene_name"] in chosen:
            number, split = row["frame_id"], f"hypersim_{row['split_partition_name']}"
            if split not in splits or not number.isdecimal():
                raise ValueError(
                    f"{toolkit / SPLIT_TABLE}: {row['scene_name']} has frame_id {number!r}, "
                    f"split_partition_name {row['split_partition_name']!r}; clone Hypersim's "
                    "repository again"
                )
            splits[split].append(f"{row['scene_name']}_{row['camera_name']}_{int(number):04d}")
    return splits


def convert_frame(stem: str, *, source: Path, toolkit: Path, tree: DatasetTree) -> None:
    """Write a frame."""
    scene, trajectory, number = stem[:10], stem[:17], stem[18:]
    folder = source / scene / "images"

    def read(kind: str, name: str, channels: int = 1) -> np.ndarray:
        file = f"scene_{trajectory[11:]}_{kind}_hdf5/frame.{number}.{name}.hdf5"
        return read_hdf5(folder / file, channels)

    colour = read("final", "color", 3)
    geometry = {
        name: read("geometry", name, channels)
        for name, channels in (
            *(("depth_meters", 1), ("normal_cam", 3), ("semantic", 1)),
            *(("semantic_instance", 1), ("render_entity_id", 1)),
        )
    }
    for name, values in geometry.items():
        if values.shape[:2] != colour.shape[:2]:
            raise ValueError(
                f"{folder}: frame {number} of {trajectory}: {name} is {values.shape[:2]}, the "
                f"image {colour.shape[:2]}; download the scene again"
            )
    camera = camera_of(scene, toolkit / CAMERA_TABLE, colour.shape[:2])
    classes = classes_of(geometry["semantic"], f"{folder}: frame {number} of {trajectory}")
    # Some scenes and cameras were released without any.
    is_labelled = bool((classes != UNKNOWN).any())
    labels = {
        "depth": planar_depth(geometry["depth_meters"], camera),
        "normals": normals_in(camera, geometry["normal_cam"]),
        "sem_seg": classes if is_labelled else None,
    }
    fields = {"sequence": scene, "intrinsics": camera.intrinsics}
    if not is_labelled:
        fields["boxes_known"] = False
    kind = scene_types(toolkit / SCENE_TABLE).get(trajectory)
    if kind in SCENE_CLASSES:
        fields["scene_id"] = SCENE_CLASSES.index(kind)
    image = tone_mapped(colour, geometry["render_entity_id"] != -1)
    annotations = objects_of(geometry["semantic_instance"], classes)
    save_frame(tree, stem, Converted(image, annotations, labels, fields))


@functools.cache
def scene_types(table: Path) -> dict[str, str]:
    """Return the scene type of each trajectory, <scene>_<camera>."""
    rows = read_table(table, "Animation", "Scene type")
    return {row["Animation"]: row["Scene type"] for row in rows}


def read_hdf5(path: Path, channels: int) -> np.ndarray:
    """Return float32 or, of ids, int32 (H, W) or (H, W, channels)."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: is missing; download the scene again, or leave it out by --scenes"
        )
    import h5py  # Of the extra "nyuv2"; a missing package is named in one line, too.

    try:
        with h5py.File(path, "r") as file:
            values = np.asarray(file["dataset"])
    except (KeyError, OSError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())
        raise ValueError(f"{path}: cannot be read ({reason}); download the scene again") from None
    if values.dtype.kind not in "if" or values.shape[2:] != (() if channels == 1 else (channels,)):
        raise ValueError(
            f"{path}: is {values.dtype} {values.shape}, not (H, W{', 3' if channels == 3 else ''});"
            " download the scene again"
        )
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32)


def camera_of(scene: str, table: Path, size: tuple[int, int]) -> Camera:
    """Return the camera of a scene for images of a size.

    The table's matrix M takes (u, v, 1), u from -1 to 1 to the right and v from -1 to 1 upwards, to
    a ray. Its columns are steps on the sensor and the way there, so that the sensor's own normal is
    the axis of a pinhole camera that sees the same, with another centre if the lens is shifted. Of
    a lens that is tilted in both directions the steps are not perpendicular.
    """
    names = [f"M_cam_from_uv_{i}{j}" for i in range(3) for j in range(3)]
    rows = {row["scene_name"]: row for row in read_table(table, "scene_name", *names)}
    try:
        matrix = np.array([float(rows[scene][name]) for name in names]).reshape(3, 3)
        if not np.isfinite(np.linalg.inv(matrix)).all():
            raise ValueError("not finite")
    except (KeyError, ValueError, np.linalg.LinAlgError) as problem:
        raise ValueError(
            f"{table}: no camera of {scene} ({problem!r}); leave the scene out by --scenes"
        ) from None
    across, up, _ = matrix.T
    right, forward = across / np.linalg.norm(across), np.cross(up, across)
    forward /= np.linalg.norm(forward)
    axes = np.array([right, np.cross(forward, right), forward])
    # Pixel i has its centre at u = (2 i + 1) / W - 1.
    v, u = ((2 * np.arange(count) + 1) / count - 1 for count in size)
    uv = np.stack([*np.meshgrid(u, -v), np.ones(size)], axis=2)
    steps = axes @ matrix
    rays = uv @ (steps / steps[2, 2]).T
    x, y, distance = steps[:, 2]
    width, height = steps[0, 0], -steps[1, 1]
    focal = size[1] / 2 * distance / width, size[0] / 2 * distance / height
    centre = (
        (size[1] - 1) / 2 - focal[0] * x / distance,
        (size[0] - 1) / 2 - focal[1] * y / distance,
    )
    return Camera(axes, rays.astype(np.float32), [round(float(x), 6) for x in (*focal, *centre)])


def planar_depth(distance: np.ndarray, camera: Camera) -> np.ndarray:
    """Return metres along the camera's axis of distances along its rays; NaN is unknown, 0."""
    depth = distance / np.linalg.norm(camera.rays, axis=2)
    return np.where(depth <= FARTHEST, depth, 0)


def normals_in(camera: Camera, stored: np.ndarray) -> np.ndarray:
    """Return unit vectors in our axes that face the camera; NaN is unknown, (0, 0, 0)."""
    normals = np.nan_to_num(stored) @ camera.axes.T.astype(np.float32)
    away = np.einsum("hwc,hwc->hw", normals, camera.rays) > 0
    return normalise(np.where(away[..., None], -normals, normals))


def classes_of(semantic: np.ndarray, where: str) -> np.ndarray:
    """Return uint8 (H, W), 0 to 39 and 255 where nothing is labelled."""
    known = semantic > 0
    if semantic.max() > len(STUFF_CLASSES):
        raise ValueError(
            f"{where}: semantic has a class {semantic.max()} of {len(STUFF_CLASSES)}; download the "
            "scene again"
        )
    return np.where(known, semantic - 1, UNKNOWN).astype(np.uint8)


def objects_of(instances: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    """Return COCO annotations, without ids, of instances of a class of objects."""
    objects = np.where((instances > 0) & (classes != UNKNOWN), instances * 256 + classes, -1)
    ids, numbers = np.unique(objects, return_inverse=True)
    names = [STUFF_CLASSES[i % 256] if i >= 0 else "" for i in ids.tolist()]
    categories = [THING_CLASSES.index(n) + 1 if n in THING_CLASSES else None for n in names]
    return object_annotations(numbers.reshape(instances.shape) + 1, categories)


def tone_mapped(colour: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3) of radiances by Hypersim's own rule."""
    colour = np.nan_to_num(colour)
    scale = 1.0
    if valid.any():
        now = np.percentile((colour @ np.float32([0.3, 0.59, 0.11]))[valid], PERCENTILE)
        scale = BRIGHTNESS ** (1 / GAMMA) / now if now >= DARKEST else 0.0
    return np.uint8(np.round(255 * (scale * colour).clip(0, 1) ** GAMMA))


if __name__ == "__main__":
    main()
