"""The command behind datasets/make_rooms.py."""

import argparse
import functools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dataset_tree import DatasetTree, object_annotations
from nyuv2prep.classes import class_table
from processes import map_over
from tqdm import tqdm

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES
from rock_d2.engine.command_line import parse, tool_parser
from rock_d2.tasks.thinning import outlines
from roomgen.frame import Frame
from roomgen.render import FRAMES_PER_SEQUENCE, GENERATOR_VERSION, render_frame
from roomgen.sensor import kinect_holes
from roomgen.styles import STYLES, TYPICAL, Style

SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Recipe:
    """The settings that the bytes depend on; also the ``info`` of the JSON files."""

    seed: int
    height: int
    width: int
    train: int
    val: int
    kinect_holes: bool
    style: str = TYPICAL.name
    version: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        if min(self.height, self.width) < SMALLEST_SIDE:
            raise ValueError(f"--size {self.height}x{self.width}: sides must be >= {SMALLEST_SIDE}")
        if self.style not in STYLES:
            raise ValueError(f"--style {self.style}: must be one of {', '.join(STYLES)}")
        if self.kinect_holes and not STYLES[self.style].is_kinect:
            raise ValueError(f"--kinect-holes: the cameras of --style {self.style} are no Kinects")
        for name, lowest in (("train", 1), ("val", 1), ("seed", 0)):
            if getattr(self, name) < lowest:
                raise ValueError(f"--{name} {getattr(self, name)}: must be >= {lowest}")

    @property
    def name(self) -> str:
        """The data set's name, without the split's, and its folder."""
        return "rooms" if self.style == "typical" else f"rooms_{self.style}"

    def splits(self) -> dict[str, range]:
        """Return the frame indices of each split; validation starts with a new room."""
        first = -(-self.train // FRAMES_PER_SEQUENCE) * FRAMES_PER_SEQUENCE
        return {
            f"{self.name}_train": range(self.train),
            f"{self.name}_val": range(first, first + self.val),
        }

    def info(self) -> dict[str, Any]:
        return {"description": "rendered rooms, not NYUv2", **asdict(self)}


@dataclass(frozen=True)
class Written:
    """One frame as it was written: its COCO record, its objects, its processor time."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    seconds: float


def write_room(index: int, recipe: Recipe, root: Path) -> Written:
    """Render one frame and write its files."""
    start = time.process_time()
    style = STYLES[recipe.style]
    frame = render_frame(recipe.seed, index, recipe.height, recipe.width, recipe.style)
    depth = frame.depth
    if recipe.kinect_holes:
        rng = np.random.default_rng([recipe.seed, index])
        depth = kinect_holes(depth, frame.normals, frame.instances, rng)
    files = DatasetTree(root).write_frame(
        f"{index:06d}",
        frame.image,
        depth=depth,
        normals=frame.normals,
        sem_seg=class_table([thing.name for thing in frame.objects])[frame.instances],
        edges=outlines(frame.instances),
    )
    fx, fy, cx, cy = (float(frame.intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    image = {
        "id": index,
        "height": recipe.height,
        "width": recipe.width,
        **files,
        **({"scene_id": SCENE_CLASSES.index(frame.scene_type)} if style.has_scenes else {}),
        "sequence": frame.sequence,
        "intrinsics": [fx, fy, cx, cy],
        "camera_to_world": frame.camera_to_world.round(9).tolist(),
    }
    return Written(image, _annotations(frame, style), time.process_time() - start)


def _annotations(frame: Frame, style: Style) -> list[dict[str, Any]]:
    visible = np.bincount(frame.instances.ravel(), minlength=len(frame.objects) + 1)[1:]
    fractions = [
        {"visible_fraction": round(int(pixels) / thing.full_pixels, 4)}
        for pixels, thing in zip(visible, frame.objects, strict=True)
    ]
    categories = [style.category_ids.get(thing.name) for thing in frame.objects]
    return object_annotations(frame.instances, categories, extra=fractions)


def write_split(name: str, indices: range, recipe: Recipe, root: Path, jobs: int) -> float:
    """Write one split, its JSON last; return the processor time in seconds."""
    images, annotations, seconds = [], [], 0.0
    work = functools.partial(write_room, recipe=recipe, root=root)
    # One room's frames stay together, since a process remembers its room.
    results = map_over(work, indices, jobs, chunksize=FRAMES_PER_SEQUENCE)
    for written in tqdm(results, total=len(indices), desc=name, unit="image"):
        images.append(written.image)
        for annotation in written.annotations:
            identity = {"id": len(annotations) + 1, "image_id": written.image["id"]}
            annotations.append(identity | annotation)
        seconds += written.seconds
    # Ids start at 1, in this order.
    tree = DatasetTree(root, categories=tuple(STYLES[recipe.style].category_ids))
    tree.write_annotations(name, images, annotations, recipe.info())
    return seconds


def is_complete(recipe: Recipe, root: Path) -> bool:
    """Return whether exactly these images are there.

    Raises:
        ValueError: others are.
    """
    files = [DatasetTree(root).annotation_file(name) for name in recipe.splits()]
    for file in filter(Path.exists, files):
        found = json.loads(file.read_text()).get("info", {})
        other = {k: v for k, v in recipe.info().items() if found.get(k) != v}
        if other:
            there = ", ".join(f"{k}={found.get(k)}" for k in other)
            raise ValueError(f"{file} holds other rooms ({there}); use --overwrite or other --root")
    return all(file.exists() for file in files)


def make_rooms(recipe: Recipe, root: Path, jobs: int, overwrite: bool) -> None:
    if not overwrite and is_complete(recipe, root):
        print(f"{root} is complete")
        return
    DatasetTree(root).remove_unfinished()
    for name in recipe.splits():
        DatasetTree(root).annotation_file(name).unlink(missing_ok=True)
    start = time.perf_counter()
    seconds = sum(write_split(n, i, recipe, root, jobs) for n, i in recipe.splits().items())
    count, wall = recipe.train + recipe.val, time.perf_counter() - start
    print(
        f"{count} images of {recipe.height} x {recipe.width} in {root}: {wall:.1f} s, "
        f"{count / seconds:.1f} images/s a core"
    )


def parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 240x320")
    return int(match[1]), int(match[2])


def get_parser(description: str) -> argparse.ArgumentParser:
    parser = tool_parser(description)
    add = parser.add_argument
    root = Path(os.getenv("DETECTRON2_DATASETS") or "datasets")
    add("--root", type=Path, default=root, help="rooms go to ROOT/rooms (default: %(default)s)")
    add(
        "--style",
        choices=list(STYLES),
        default=TYPICAL.name,
        help="plain: all scene types look alike but for their furniture; other: another domain of "
        "23 classes, without scene classes; these go to ROOT/rooms_plain and ROOT/rooms_other",
    )
    add(
        "--size",
        type=parse_size,
        default="240x320",
        metavar="HEIGHTxWIDTH",
        help="size of an image, in pixels (default: 240x320)",
    )
    add("--train", type=int, default=800, help="training images (default: %(default)s)")
    add("--val", type=int, default=600, help="validation images (default: %(default)s)")
    add("--seed", type=int, default=0, help="other seeds make other rooms (default: %(default)s)")
    add(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        help="processes side by side (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace rooms of other settings")
    add("--kinect-holes", action="store_true", help="depth is 0 where a Kinect would see nothing")
    return parser


def main(description: str, argv: Sequence[str] | None = None) -> None:
    args = parse(get_parser(description), argv)
    height, width = args.size
    recipe = Recipe(args.seed, height, width, args.train, args.val, args.kinect_holes, args.style)
    make_rooms(recipe, args.root / recipe.name, args.jobs, args.overwrite)
