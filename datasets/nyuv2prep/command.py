"""The command behind datasets/prepare_nyuv2.py."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from one_line_parser import OneLineParser, at_least

from nyuv2prep.boxes import CONVENTIONS
from nyuv2prep.convert import Options, convert
from nyuv2prep.normals_source import FORMATS
from nyuv2prep.splits import OFFICIAL_VAL

# Each process takes some 40 MB beside what they share; eight stay below 1 GB, whatever the file.
MOST_JOBS = 8


def get_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="prepare_nyuv2.py",
        description="Converts NYUv2's official files to images, depth, normals and COCO JSON.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    root = Path(os.getenv("DETECTRON2_DATASETS") or Path(__file__).parents[1])
    add = parser.add_argument
    add("--mat", type=Path, required=True, help="nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, required=True, help="splits.mat")
    add("--root", type=Path, default=root, help="the data go to ROOT/nyuv2")
    add("--normals", type=Path, help="folder of normals; without it they come from the depth")
    add("--normals-format", choices=FORMATS, default="auto", help="layout of that folder")
    add(
        "--depth",
        choices=("filled", "raw"),
        default="filled",
        help="filled: all of `depths`; raw: `depths` where `rawDepths` has a value",
    )
    add("--image-format", choices=("png", "jpg"), default="png", help="png is lossless")
    add(
        "--boxes",
        choices=CONVENTIONS,
        default="full",
        help="full frame; Gupta's crop (to ROOT/nyuv2_gupta); the PyTorch port's (ROOT/nyuv2_port)",
    )
    add("--min-area", type=at_least(0), default=0, help="leave out objects with fewer pixels")
    add("--val-scenes", type=Path, help="file with a video name a line to validate on")
    add("--val-images", type=at_least(1), default=OFFICIAL_VAL, help="size of nyuv2_val122")
    add("--jobs", type=at_least(1), default=min(os.cpu_count() or 1, MOST_JOBS), help="processes")
    add("--overwrite", action="store_true", help="replace data of other settings")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = Options(**vars(get_parser().parse_args(argv)))
    try:
        convert(options)
    except (OSError, ValueError) as error:
        print(f"prepare_nyuv2.py: {error}", file=sys.stderr)
        return 1
    return 0
