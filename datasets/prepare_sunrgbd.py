#!/usr/bin/env python3
"""Convert SUN RGB-D's official files to this project's tree.

    python datasets/prepare_sunrgbd.py --source sunrgbd_official

The source holds SUNRGBDMeta2DBB_v2.mat and what SUNRGBD.zip and SUNRGBDtoolbox.zip unpack to. A run
that was killed continues where it stopped. docs/DATASETS.md describes the data sets, README.md
beside this file the files.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from conversion import Converted, add_options, convert, save_frame
from dataset_tree import CATEGORY_IDS, DatasetTree

from rock_d2.data.datasets.sunrgbd import DEPTH_RANGE, SCENE_CLASSES
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import read_color_image, read_pixels

CONVERTER_VERSION = 1
META = "SUNRGBDMeta2DBB_v2.mat"
SPLIT = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
# Folders of the depth: in-painted, or as measured.
DEPTH_FOLDERS = {"filled": "depth_bfx", "raw": "depth"}
# 1449 frames of SUN RGB-D are NYUv2's, of its test split too.
NYUV2 = "SUNRGBD/kv1/NYUdata/"
OFFICIAL = {"train": 5285, "test": 5050}
# SUN RGB-D writes night_stand and garbage_bin.
OTHER_NAMES = {"tv": "television"}


@dataclass(frozen=True)
class SourceFrame:
    """The annotations of a frame in the .mat files.

    Attributes:
        name: its folder below the source.
        boxes: by their class's name, [x, y, width, height] in MATLAB's pixels, which count from 1.
    """

    name: str
    boxes: tuple[tuple[str, tuple[float, ...]], ...]


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("--source", type=Path, required=True, help="folder of the official files")
    depth = "filled (default): the in-painted depth; raw: the measured one"
    add("--depth", choices=DEPTH_FOLDERS, default="filled", help=depth)
    add("--without-nyuv2", action="store_true", help="leave out the frames that are NYUv2's")
    add_options(parser, "sunrgbd", copies_images=True)
    with one_line_errors():
        args = parse(parser, argv)
        frames = read_meta(args.source / META)
        splits = read_splits(args.source / SPLIT, frames, without_nyuv2=args.without_nyuv2)
        settings = {name: getattr(args, name) for name in ("depth", "without_nyuv2")}
        info = {"description": "SUN RGB-D", "converter_version": CONVERTER_VERSION, **settings}
        tree = DatasetTree(args.root / "sunrgbd")
        work = functools.partial(convert_frame, source=args.source, depth=args.depth, tree=tree)
        convert(tree, splits, work, info=info, jobs=args.jobs, overwrite=args.overwrite)
        for (split, official), found in zip(OFFICIAL.items(), splits.values(), strict=True):
            if len(found) != official:
                print(f"warning: {len(found)} of SUN RGB-D's {official} images of {split}")


def read_mat(path: Path, *names: str) -> list[Any]:
    """Return variables of a MATLAB 5 file, as flat arrays."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; --source must name the folder that it is in")
    # SciPy raises almost anything on a file that is none of its own.
    try:
        variables = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)
        return [np.atleast_1d(variables[name]) for name in names]
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(
            f"{path}: no MATLAB 5 file with {', '.join(names)} ({reason}); download it again"
        ) from None


@functools.cache
def read_meta(path: Path) -> dict[str, SourceFrame]:
    """Return the frames by their number in the file, which counts from 1, as files are named."""
    (entries,) = read_mat(path, "SUNRGBDMeta2DBB")
    frames = {}
    for number, entry in enumerate(entries, start=1):
        try:
            # MATLAB's empty array stands for no object, and for no box of an object.
            objects = [x for x in np.atleast_1d(entry.groundtruth2DBB) if hasattr(x, "gtBb2D")]
            boxes = [(str(x.classname), np.ravel(x.gtBb2D).astype(float)) for x in objects]
            frames[f"{number:05d}"] = SourceFrame(
                name=str(entry.sequenceName).strip("/"),
                boxes=tuple((kind, tuple(box.tolist())) for kind, box in boxes if len(box) == 4),
            )
        except (AttributeError, TypeError, ValueError) as problem:
            raise ValueError(
                f"{path}: frame {number} has no sequenceName with objects of classname and gtBb2D "
                f"({problem}); download it again"
            ) from None
    return frames


def read_splits(
    path: Path, frames: Mapping[str, SourceFrame], *, without_nyuv2: bool
) -> dict[str, list[str]]:
    """Return the numbers of the frames of each data set."""
    number_of = {frame.name: number for number, frame in frames.items()}
    splits = {}
    for split, folders in zip(OFFICIAL, read_mat(path, "alltrain", "alltest"), strict=True):
        # /n/fs/sun3d/data/SUNRGBD/kv2/..., of which some end in a slash.
        names = ["SUNRGBD/" + str(name).partition("SUNRGBD/")[2].strip("/") for name in folders]
        if unknown := [name for name in names if name not in number_of]:
            raise ValueError(
                f"{path}: {unknown[0]} is no frame of {META}; download both files again"
            )
        numbers = (number_of[x] for x in names if not (without_nyuv2 and x.startswith(NYUV2)))
        splits[f"sunrgbd_{split}"] = sorted(numbers)
    return splits


def convert_frame(number: str, *, source: Path, depth: str, tree: DatasetTree) -> None:
    """Write a frame."""
    frame = read_meta(source / META)[number]
    folder = source / frame.name
    file = only_file(folder / "image", "*.jpg")
    image = read_color_image(file)
    metres = read_depth(only_file(folder / DEPTH_FOLDERS[depth], "*.png"), image.shape[:2])
    fields: dict[str, Any] = {"intrinsics": read_intrinsics(folder / "intrinsics.txt")}
    scene = read_text(folder / "scene.txt").strip()
    if scene in SCENE_CLASSES:
        fields["scene_id"] = SCENE_CLASSES.index(scene)
    annotations = objects_of(frame, *image.shape[:2])
    save_frame(tree, number, Converted(image, annotations, {"depth": metres}, fields, file))


def only_file(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder}: has {len(found)} files {pattern}, not one; unpack SUNRGBD.zip again"
        )
    return found[0]


def read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; unpack SUNRGBD.zip again")
    return path.read_text(encoding="utf-8", errors="replace")


def read_intrinsics(path: Path) -> list[float]:
    """Return fx, fy, cx, cy of a 3 x 3 matrix; MATLAB counts pixels from 1, we from 0."""
    try:
        fx, _, cx, _, fy, cy, *last = map(float, read_text(path).split())
        if len(last) == 3:
            return [fx, fy, cx - 1, cy - 1]
    except ValueError:
        pass
    raise ValueError(f"{path}: is no matrix of 3 x 3 numbers; unpack SUNRGBD.zip again")


def read_depth(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return float32 metres (H, W), 0 where unknown and beyond what the toolbox takes.

    Files hold millimetres whose 16 bits are turned left by three (read3dPoints.m).
    """
    stored = read_pixels(path)
    if stored.dtype not in (np.uint16, np.int32) or stored.shape != size:
        raise ValueError(
            f"{path}: is {stored.dtype} {stored.shape}, its image has 16-bit depth of {size}; "
            "unpack SUNRGBD.zip again"
        )
    stored = stored.astype(np.uint16)
    metres = ((stored >> 3) | (stored << 13)).astype(np.float32) / 1000
    return np.where(metres <= DEPTH_RANGE[1], metres, 0)


def objects_of(frame: SourceFrame, height: int, width: int) -> list[dict[str, Any]]:
    """Return COCO annotations, without ids, of the 19 classes; what leaves the image is cut off."""
    annotations = []
    for name, (x, y, w, h) in frame.boxes:
        category = CATEGORY_IDS.get(OTHER_NAMES.get(name, name.replace("_", " ")))
        left, right = np.clip([x - 1, x - 1 + w], 0, width)
        top, bottom = np.clip([y - 1, y - 1 + h], 0, height)
        # NaN is no number of pixels either.
        if category is None or not (right - left >= 1 and bottom - top >= 1):
            continue
        box = [float(left), float(top), float(right - left), float(bottom - top)]
        area = box[2] * box[3]
        annotations.append({"category_id": category, "bbox": box, "area": area, "iscrowd": 0})
    return annotations


if __name__ == "__main__":
    main()
