"""The command behind datasets/prepare_nyuv2.py."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from nyuv2prep.boxes import CONVENTIONS
from nyuv2prep.convert import Options, convert
from nyuv2prep.splits import OFFICIAL_VAL
from rock_d2.engine.command_line import parse, tool_parser

# Each process takes some 40 MB beside what they share.
MOST_JOBS = 8


def get_parser(description: str) -> argparse.ArgumentParser:
    parser = tool_parser(description)
    root = Path(os.getenv("DETECTRON2_DATASETS") or "datasets")
    add = parser.add_argument
    add("--mat", type=Path, required=True, help="NYUv2's file nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, required=True, help="NYUv2's file splits.mat")
    add("--root", type=Path, default=root, help="data go to ROOT/nyuv2 (default: %(default)s)")
    add("--normals", type=Path, help="folder of normals (without: from the depth)")
    add(
        "--depth",
        choices=("filled", "raw"),
        default="filled",
        help="filled (default): all of `depths`; raw: `depths` where `rawDepths` has a value",
    )
    add("--image-format", choices=("png", "jpg"), default="png", help="png (default) is lossless")
    add(
        "--boxes",
        choices=CONVENTIONS,
        default="full",
        help="of the full frame (default), of Gupta's crop, to ROOT/nyuv2_gupta, or as the PyTorch "
        "port has them, to ROOT/nyuv2_port",
    )
    add("--min-area", type=int, default=0, help="leave out objects with fewer pixels (0)")
    add("--val-scenes", type=Path, help="file with the videos to validate on, one a line")
    images = "images of nyuv2_val122, from the training set; 0: do not write it (%(default)s)"
    add("--val-images", type=int, default=OFFICIAL_VAL, help=images)
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    add("--jobs", type=int, default=jobs, help="processes side by side (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace data of other settings")
    return parser


def main(description: str, argv: Sequence[str] | None = None) -> None:
    args = vars(parse(get_parser(description), argv))
    convert(Options(**{name: args[name] for name in Options.__dataclass_fields__}))
