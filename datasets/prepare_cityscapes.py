#!/usr/bin/env python3
"""Convert Cityscapes' official files to this project's tree.

    python datasets/prepare_cityscapes.py --source cityscapes_official

The source holds what leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip,
disparity_trainvaltest.zip and camera_trainvaltest.zip unpack to. A run that was killed continues
where it stopped. docs/DATASETS.md describes the data sets, README.md beside this file the files.
"""

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conversion import Converted, add_options, convert, save_frame
from dataset_tree import DatasetTree, object_annotations

from rock_d2.data.datasets.cityscapes import THING_CLASSES
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import read_color_image, read_pixels

# Cityscapes' label ids (cityscapesscripts/helpers/labels.py), in the order of THING_CLASSES.
LABEL_IDS = (24, 25, 26, 27, 28, 31, 32, 33)
CATEGORY_OF = {label: place for place, label in enumerate(LABEL_IDS, start=1)}
# A single object has the id 1000 label + number, a group of objects the bare label
# (cityscapesscripts/preparation/json2instanceImg.py).
OBJECTS_PER_LABEL = 1000

FILES = {
    "leftImg8bit": "leftImg8bit.png",
    "gtFine": "gtFine_instanceIds.png",
    "disparity": "disparity.png",
    "camera": "camera.json",
}
CONVERTER_VERSION = 1
SPLITS = {"train": 2975, "val": 500}


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of the official files")
    add_options(parser, "cityscapes")
    with one_line_errors():
        args = parse(parser, argv)
        tree = DatasetTree(args.root / "cityscapes", args.image_format, THING_CLASSES)
        splits = {f"cityscapes_{split}": find_frames(args.source, split) for split in SPLITS}
        work = functools.partial(convert_frame, source=args.source, tree=tree)
        info = {"description": "Cityscapes, fine", "converter_version": CONVERTER_VERSION}
        info["image_format"] = args.image_format
        convert(tree, splits, work, info=info, jobs=args.jobs, overwrite=args.overwrite)
        for (split, official), found in zip(SPLITS.items(), splits.values(), strict=True):
            if len(found) != official:
                print(f"warning: {len(found)} of Cityscapes' {official} images of {split}")


def find_frames(source: Path, split: str) -> list[str]:
    """Return the frames that have any file, as <split>_<city>_<sequence>_<frame>, sorted."""
    stems = {
        f"{split}_{path.name.removesuffix(f'_{ending}')}"
        for kind, ending in FILES.items()
        for path in (source / kind / split).glob(f"*/*_{ending}")
    }
    if not stems:
        raise FileNotFoundError(
            f"{source}: has no {'/, '.join(FILES)}/ with {split}/<city>/ in it: --source must name "
            "the folder that Cityscapes' archives were unpacked in"
        )
    for stem in sorted(stems):
        for kind in FILES:
            path = file_of(source, stem, kind)
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: is missing; download and unpack {kind}_trainvaltest.zip again"
                )
    return sorted(stems)


def file_of(source: Path, stem: str, kind: str) -> Path:
    split, frame = stem.split("_", maxsplit=1)
    return source / kind / split / frame.split("_")[0] / f"{frame}_{FILES[kind]}"


def convert_frame(stem: str, *, source: Path, tree: DatasetTree) -> None:
    """Write a frame."""
    files = {kind: file_of(source, stem, kind) for kind in FILES}
    image = read_color_image(files["leftImg8bit"])
    instances, disparity = (
        read_map(files[kind], image.shape[:2]) for kind in ("gtFine", "disparity")
    )
    fields = {"sequence": "_".join(stem.split("_")[1:3]), **read_camera(files["camera"])}
    labels = {"disparity": disparity_in_pixels(disparity)}
    # A PNG is copied as it is.
    file = files["leftImg8bit"] if tree.image_format == "png" else None
    save_frame(tree, stem, Converted(image, objects_of(instances), labels, fields, file))


def read_map(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a 16-bit map as int32 (H, W)."""
    pixels = read_pixels(path)
    # Pillow shows 16-bit files as either, by its version.
    if pixels.dtype not in (np.uint16, np.int32) or pixels.shape != size:
        raise ValueError(
            f"{path}: is {pixels.dtype} {pixels.shape}, its image has 16-bit maps of {size}; "
            "download and unpack its archive again"
        )
    return pixels.astype(np.int32)


def disparity_in_pixels(stored: np.ndarray) -> np.ndarray:
    """Return float32 (H, W); 0 is unknown, and 1, a disparity of 0, has no logarithm either."""
    return ((stored - 1).clip(min=0) / 256).astype(np.float32)


def objects_of(instances: np.ndarray) -> list[dict[str, Any]]:
    """Return COCO annotations, without ids; groups are crowds."""
    ids, numbers = np.unique(instances, return_inverse=True)
    is_group = ids < OBJECTS_PER_LABEL
    labels = np.where(is_group, ids, ids // OBJECTS_PER_LABEL)
    return object_annotations(
        numbers.reshape(instances.shape) + 1,
        [CATEGORY_OF.get(int(label)) for label in labels],
        extra=[{"iscrowd": int(group)} for group in is_group],
    )


def read_camera(path: Path) -> dict[str, Any]:
    """Return the fields of an image that say how disparity and depth belong together."""
    try:
        camera = json.loads(path.read_text(encoding="utf-8"))
        intrinsics = [float(camera["intrinsic"][name]) for name in ("fx", "fy", "u0", "v0")]
        baseline = float(camera["extrinsic"]["baseline"])
        if not all(math.isfinite(value) and value > 0 for value in (*intrinsics, baseline)):
            raise ValueError("not finite and above 0")
        return {"intrinsics": intrinsics, "baseline": baseline}
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(
            f"{path}: is no camera with intrinsic fx, fy, u0, v0 and extrinsic baseline "
            f"({problem!r}); unpack camera_trainvaltest.zip again"
        ) from None


if __name__ == "__main__":
    main()
