"""The command behind datasets/make_rooms.py."""

import argparse
import functools
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset_tree import CATEGORY_IDS, DatasetTree, object_annotations, replace_file
from one_line_parser import NEEDS_H5PY, OneLineParser, at_least
from tqdm import tqdm

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, SCENE_CLASSES
from roomgen.frame import Frame
from roomgen.render import FRAMES_PER_SEQUENCE, GENERATOR_VERSION, render_frame
from roomgen.sensor import kinect_holes

SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Recipe:
    """All that the bytes depend on; also the ``info`` of the JSON files."""

    seed: int
    height: int
    width: int
    train: int
    val: int
    kinect_holes: bool
    version: int = GENERATOR_VERSION

    def splits(self) -> dict[str, range]:
        """Frame indices; validation starts with a new room."""
        first = -(-self.train // FRAMES_PER_SEQUENCE) * FRAMES_PER_SEQUENCE
        return {
            "rooms_train": range(self.train),
            "rooms_val": range(first, first + self.val),
        }

    def info(self) -> dict[str, Any]:
        return {"description": "rendered rooms, not NYUv2", **asdict(self)}


@dataclass(frozen=True)
class Written:
    """What a process reports of one frame: its COCO record, its objects, its processor time."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    seconds: float


def write_room(index: int, recipe: Recipe, root: Path) -> Written:
    """Renders one frame and writes its files."""
    start = time.process_time()
    frame = render_frame(recipe.seed, index, recipe.height, recipe.width)
    depth = frame.depth
    if recipe.kinect_holes:
        rng = np.random.default_rng([recipe.seed, index])
        depth = kinect_holes(depth, frame.normals, frame.instances, rng)
    files = DatasetTree(root).write_frame(f"{index:06d}", frame.image, depth, frame.normals)
    fx, fy, cx, cy = (float(frame.intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    image = {
        "id": index,
        "height": recipe.height,
        "width": recipe.width,
        **files,
        "scene_id": SCENE_CLASSES.index(frame.scene_type),
        "sequence": frame.sequence,
        "intrinsics": [fx, fy, cx, cy],
        "camera_to_world": frame.camera_to_world.round(9).tolist(),
    }
    return Written(image, _annotations(frame), time.process_time() - start)


def _annotations(frame: Frame) -> list[dict[str, Any]]:
    visible = np.bincount(frame.instances.ravel(), minlength=len(frame.objects) + 1)[1:]
    fractions = [
        {"visible_fraction": round(int(pixels) / thing.full_pixels, 4)}
        for pixels, thing in zip(visible, frame.objects, strict=True)
    ]
    categories = [CATEGORY_IDS.get(thing.name) for thing in frame.objects]
    return object_annotations(frame.instances, categories, extra=fractions)


def write_split(name: str, indices: range, recipe: Recipe, root: Path, jobs: int) -> float:
    """Writes one split, its JSON last; returns the processor time in seconds."""
    images, annotations, seconds = [], [], 0.0
    work = functools.partial(write_room, recipe=recipe, root=root)
    with _map_over(work, indices, jobs) as results:
        for written in tqdm(results, total=len(indices), desc=name, unit="image"):
            images.append(written.image)
            for annotation in written.annotations:
                identity = {"id": len(annotations) + 1, "image_id": written.image["id"]}
                annotations.append(identity | annotation)
            seconds += written.seconds
    DatasetTree(root).write_annotations(name, images, annotations, recipe.info())
    return seconds


def write_mat(recipe: Recipe, root: Path, jobs: int) -> None:
    """The same rooms as NYUv2's own files, at NYUv2's size."""
    from roomgen.nyuv2_mat import write_nyuv2_mat  # h5py is an extra.

    count = recipe.train + recipe.val
    height, width = IMAGE_SIZE
    work = functools.partial(_render_index, seed=recipe.seed, height=height, width=width)
    with _map_over(work, range(count), jobs) as frames:
        progress = tqdm(frames, total=count, desc="nyuv2 .mat", unit="image")
        write_nyuv2_mat(progress, num_frames=count, root=root, seed=recipe.seed)


def remove_mat(root: Path) -> None:
    from roomgen.nyuv2_mat import output_names

    for name in output_names():
        if (root / name).is_dir():
            shutil.rmtree(root / name)
        else:
            (root / name).unlink(missing_ok=True)


def _render_index(index: int, seed: int, height: int, width: int) -> Frame:
    return render_frame(seed, index, height, width)


@contextmanager
def _map_over(work: Callable, indices: range, jobs: int) -> Iterator[Iterable]:
    """Results in order; one room's frames stay together, since a process remembers its room."""
    if jobs == 1:
        _one_thread()
        yield map(work, indices)
        return
    with multiprocessing.Pool(jobs, initializer=_one_thread) as pool:
        yield pool.imap(work, indices, chunksize=FRAMES_PER_SEQUENCE)


def _one_thread() -> None:
    cv2.setNumThreads(0)


def is_complete(recipe: Recipe, root: Path) -> bool:
    """Whether the very same images lie there already.

    Raises:
        ValueError: others do.
    """
    files = [DatasetTree(root).annotation_file(name) for name in recipe.splits()]
    for file in filter(Path.exists, files):
        found = json.loads(file.read_text()).get("info", {})
        other = {k: v for k, v in recipe.info().items() if found.get(k) != v}
        if other:
            there = ", ".join(f"{k}={found.get(k)}" for k in other)
            raise ValueError(f"{file} holds other rooms ({there}); use --overwrite or other --root")
    return all(file.exists() for file in files)


def parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(int(side) for side in match.groups()) < SMALLEST_SIDE:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HEIGHTxWIDTH with sides of {SMALLEST_SIDE} pixels or more, as 240x320"
        )
    return int(match[1]), int(match[2])


def get_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="make_rooms.py",
        description="Renders rooms: indoor scenes with boxes, masks, depth, normals.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    root = Path(os.getenv("DETECTRON2_DATASETS") or Path(__file__).parents[1])
    parser.add_argument("--root", type=Path, default=root, help="rooms go to ROOT/rooms")
    parser.add_argument("--size", type=parse_size, default="240x320", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--train", type=at_least(1), default=800, help="training images")
    parser.add_argument("--val", type=at_least(1), default=200, help="validation images")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--jobs", type=at_least(1), default=os.cpu_count(), help="processes")
    parser.add_argument("--overwrite", action="store_true", help="replace rooms of other settings")
    parser.add_argument(
        "--kinect-holes", action="store_true", help="depth is 0 where a Kinect would see nothing"
    )
    parser.add_argument(
        "--nyuv2-mat", action="store_true", help="write the rooms as NYUv2's own files too"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.nyuv2_mat and importlib.util.find_spec("h5py") is None:
        parser.error(f"--nyuv2-mat {NEEDS_H5PY}")
    height, width = args.size
    recipe = Recipe(args.seed, height, width, args.train, args.val, args.kinect_holes)
    root = args.root / "rooms"
    try:
        make_rooms(recipe, root, args.jobs, args.overwrite)
        if args.nyuv2_mat:
            make_mat(recipe, root, args.jobs, args.overwrite)
    except (OSError, ValueError) as error:
        print(f"make_rooms.py: {error}", file=sys.stderr)
        return 1
    return 0


def make_rooms(recipe: Recipe, root: Path, jobs: int, overwrite: bool) -> None:
    if not overwrite and is_complete(recipe, root):
        print(f"{root} is complete")
        return
    for name in recipe.splits():
        DatasetTree(root).annotation_file(name).unlink(missing_ok=True)
    start = time.perf_counter()
    seconds = sum(write_split(n, i, recipe, root, jobs) for n, i in recipe.splits().items())
    count, wall = recipe.train + recipe.val, time.perf_counter() - start
    print(
        f"{count} images of {recipe.height} x {recipe.width} in {root}: {wall:.1f} s, "
        f"{count / seconds:.1f} images/s a core"
    )


def make_mat(recipe: Recipe, root: Path, jobs: int, overwrite: bool) -> None:
    """Writes NYUv2's files unless a note beside them says that they are there."""
    note = root / "nyuv2_mat.json"
    if note.exists() and not overwrite:
        if json.loads(note.read_text()) != recipe.info():
            raise ValueError(f"{note} tells of other rooms; remove NYUv2's files or change --root")
        print(f"{root}: NYUv2's files are complete")
        return
    if note.exists():
        # The note goes first: without it nothing counts as complete.
        note.unlink()
        remove_mat(root)
    write_mat(recipe, root, jobs)
    text = json.dumps(recipe.info())
    replace_file(note, lambda temporary: temporary.write_text(text))
