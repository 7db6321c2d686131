#!/usr/bin/env python3
"""Convert NYUD_MT, the archive of the multi-task literature, to this project's tree.

    python datasets/prepare_nyud_mt.py --archive NYUD_MT

NYUv2's own files (prepare_nyuv2.py) are the default of the configs; the archive is for comparisons.
A run that was killed continues where it stopped. README.md beside this file describes the files.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conversion import Converted, add_options, convert_frames, prepare_tree, save_frame, write_split
from dataset_tree import DatasetTree
from pascal_labels import read_list, read_png

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, STUFF_CLASSES
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import read_color_image
from rock_d2.tasks.class_maps import UNKNOWN
from rock_d2.tasks.normals import normalise

# Raise it when the same input gives other files.
CONVERTER_VERSION = 1

SPLITS = {"train": 795, "val": 654}
# Archives of other authors have the same name, and other sizes and classes.
REMEDY = "use the archive of MTI-Net's authors, 480 x 640 pixels, and unpack it again"


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="folder of the archive NYUD_MT")
    add_options(parser, "nyud_mt", copies_images=True)
    with one_line_errors():
        args = parse(parser, argv)
        if not args.archive.is_dir():
            raise FileNotFoundError(f"{args.archive}: there is no such folder; see --archive")
        convert(args.archive, args.root / "nyud_mt", args.jobs, args.overwrite)


def convert(archive: Path, root: Path, jobs: int, overwrite: bool) -> None:
    """Do what is left to do; a second call with the same arguments changes nothing."""
    splits = {
        f"nyud_mt_{split}": read_list(archive / "gt_sets" / f"{split}.txt", archive / "images")
        for split in SPLITS
    }
    train, val = splits.values()
    if both := set(train) & set(val):
        raise ValueError(f"{archive / 'gt_sets'}: {min(both)} is in both lists: {REMEDY}")
    tree = DatasetTree(root)
    info = {"description": "NYUD_MT", "converter_version": CONVERTER_VERSION}
    settings = {"info": info, "inputs": str(archive), "splits": splits}
    prepare_tree(tree, settings, overwrite)
    work = functools.partial(convert_frame, archive=archive, tree=tree)
    records = convert_frames(tree, work, sorted(train + val), jobs, name="nyud_mt")
    for (name, part), official in zip(splits.items(), SPLITS.values(), strict=True):
        write_split(tree, name, [records[stem] for stem in part], info)
        print(f"{name}: {len(part)} images (officially {official})")


def convert_frame(stem: str, *, archive: Path, tree: DatasetTree) -> None:
    """Write a frame."""
    file = archive / "images" / f"{stem}.jpg"
    image = read_color_image(file)
    if image.shape[:2] != IMAGE_SIZE:
        raise ValueError(f"{file}: is {image.shape[:2]}, not {IMAGE_SIZE}: {REMEDY}")
    labels = {
        "sem_seg": read_classes(archive / "segmentation" / f"{stem}.png"),
        "depth": read_array(archive / "depth" / f"{stem}.npy", IMAGE_SIZE, largest=65.535),
        "normals": read_normals(archive / "normals" / f"{stem}.npy"),
        "edges": read_array(archive / "edge" / f"{stem}.npy", IMAGE_SIZE, largest=1) > 0.5,
    }
    save_frame(tree, stem, Converted(image, [], labels, {"boxes_known": False}, file=file))


def read_classes(path: Path) -> np.ndarray:
    """Return classes from 0; the file has 1 to 40, and 0 for unknown."""
    classes = read_png(path, IMAGE_SIZE)
    if classes.max() > len(STUFF_CLASSES):
        raise ValueError(
            f"{path}: holds class {classes.max()} of 0 to {len(STUFF_CLASSES)}: {REMEDY}"
        )
    return np.where(classes > 0, classes - 1, UNKNOWN).astype(np.uint8)


def read_normals(path: Path) -> np.ndarray:
    """Return unit vectors, 0 where unknown; nobody has said which axes they have."""
    return normalise(read_array(path, (*IMAGE_SIZE, 3), smallest=-1, largest=1))


def read_array(
    path: Path, shape: tuple[int, ...], *, largest: float, smallest: float = 0
) -> np.ndarray:
    """Return float32 values of a shape, within bounds."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing: {REMEDY}")
    try:
        values = np.load(path, allow_pickle=False).astype(np.float32)
    except (AttributeError, EOFError, OSError, ValueError) as problem:
        raise ValueError(f"{path}: is no array of numbers ({problem}): {REMEDY}") from None
    if values.shape not in (shape, (*shape, 1)):
        raise ValueError(f"{path}: is {values.shape}, not {shape}: {REMEDY}")
    # Comparisons with NaN are false; the vectors' lengths are rounded.
    if not ((values >= smallest - 1e-3) & (values <= largest + 1e-3)).all():
        raise ValueError(f"{path}: holds values outside {smallest} to {largest}: {REMEDY}")
    return values.reshape(shape)


if __name__ == "__main__":
    main()
