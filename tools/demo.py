#!/usr/bin/env python
r"""Runs a trained model on one's own images, a video or the webcam.

    rock-d2 predict kitchen.jpg office.jpg
    python tools/demo.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --input kitchen.jpg office.jpg --output seen
    python tools/demo.py --config-file ... --weights ... --input walk.mp4 --output seen.mp4

The first, `python tools/demo.py` in a checkout, takes the model that comes with the project, which
was trained on rendered rooms. A model with MODEL.ROCK.GIVEN takes labels of these tasks, each by an
option of the task's name. tools/web_demo.py does it in a page of the browser.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from tqdm import tqdm

from rock_d2.engine.command_line import (
    add_model_options,
    one_line_errors,
    parse,
    tool_parser,
)
from rock_d2.files import atomic_file
from rock_d2.predictor import Predictor
from rock_d2.sources import WEBCAM, Item, is_video, items_of, scheme_of
from rock_d2.tasks import TASK_REGISTRY

VIDEO_CODECS = {".avi": "MJPG", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
# Of cameras and files that do not have their own.
FRAMES_PER_SECOND = 25.0


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    inputs = (
        "images, folders and patterns of them, their http addresses; or a video, the address of a "
        "stream, or the word webcam (until Ctrl-C)"
    )
    add("paths", nargs="*", metavar="PATH", help=inputs)
    add("--input", nargs="+", default=[], metavar="PATH", help="the same as PATH, after options")
    output = "folder for the pictures, or the file for one image or a video (default: %(default)s)"
    add("--output", type=Path, default="output/predictions", metavar="PATH", help=output)
    add_model_options(parser)
    predictions = "also write the predictions without the maps: <picture>.json, or <video>.jsonl"
    add("--json", action="store_true", help=predictions)
    maps = "also write each map (C, H, W): <picture>_<task>.npy"
    add("--maps", action="store_true", help=maps)
    add(
        "--confidence-threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="score from which a detection is shown and written (default: %(default)s)",
    )
    for _, task in TASK_REGISTRY:
        help_text = f"for MODEL.ROCK.GIVEN: each image's `{task.field}`"
        add(f"--{task.name}", nargs="+", metavar="LABEL", help=help_text)
    add(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="settings of the config as KEY VALUE pairs, last of all arguments",
    )
    return parser


def stem_of(item: Item) -> str:
    return Path(urlsplit(item).path if scheme_of(item) else item).stem


def output_files(inputs: Sequence[str], items: Sequence[Item], output: Path) -> list[Path]:
    """Return the place of each image's picture: in ``output``, or that file if it has a suffix."""
    images = [Path(item) for item in items]
    if len(images) == 1 and output.suffix and not output.is_dir():
        files = [output]
    else:
        files = [output / f"{stem_of(item)}.png" for item in items]
    file, times = Counter(files).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{file}: two inputs have this name; run them into different folders")
    for file in files:
        folder = file.parent.resolve()
        if {folder, *folder.parents} & {Path(path).resolve() for path in inputs}:
            raise ValueError(f"{output}: is in the folder of --input; choose another --output")
        if files != [output] and folder in {image.parent.resolve() for image in images}:
            raise ValueError(f"{output}: is the folder of the input; choose another --output")
        check_output(file, images)
    return files


def check_output(file: Path, inputs: Sequence[Path]) -> None:
    """Raise ValueError if writing would destroy an input, or a file that a link leads to."""
    if file.is_symlink():
        raise ValueError(f"{file}: is a link; delete it, or choose another --output")
    if file.exists() and any(path.exists() and path.samefile(file) for path in inputs):
        raise ValueError(f"{file}: is an input; choose another --output")


def run_on_images(
    predictor: Predictor, images: Sequence[Item], files: Sequence[Path], args: argparse.Namespace
) -> list[str]:
    """Write a picture for each image, and what else ``args`` ask for.

    Returns:
        What is wrong with images that cannot be read.
    """
    problems: list[str] = []

    def report(problem: str) -> None:
        problems.append(problem)
        tqdm.write(f"skipped: {problem}", file=sys.stderr)

    labels, places = given_labels(args), dict(zip(map(str, images), files, strict=True))
    for name, values in labels.items():
        if len(values) != len(images):
            raise ValueError(f"--{name}: has {len(values)} labels for {len(images)} images")
    choices = {"encodings": True, "progress": sys.stderr.isatty(), "on_error": report}
    for found in predictor.stream(images, **choices, **labels):
        file = places[found.name]
        shown = found.threshold(args.confidence_threshold)
        shown.save(file)
        maps = shown.save_maps(file.with_suffix("")) if args.maps else {}
        if args.json:
            with atomic_file(file.with_suffix(".json")) as document:
                document.write(json.dumps(shown.summary() | maps, indent=1).encode())
        tqdm.write(f"{found.name}: {found.describe(args.confidence_threshold)}")
    return problems


def run_on_video(predictor: Predictor, source: str, output: Path, args: argparse.Namespace) -> int:
    """Write a video of pictures; with --json a line for each frame in a file beside it.

    Returns:
        The number of frames.
    """
    if output.suffix.lower() not in VIDEO_CODECS:
        raise ValueError(f"{output}: a video's suffix must be one of {' '.join(VIDEO_CODECS)}")
    for file in (output, output.with_suffix(".jsonl")):
        check_output(file, [Path(source)])
    output.parent.mkdir(parents=True, exist_ok=True)
    capture = cv2.VideoCapture(0 if source == WEBCAM else source)
    if not capture.isOpened():
        raise ValueError(f"{source}: is no video that OpenCV reads")
    rate = capture.get(cv2.CAP_PROP_FPS) or FRAMES_PER_SECOND
    count = 0
    with ExitStack() as closing:
        closing.callback(capture.release)
        try:
            for found in predictor.stream(capture, encodings=True, progress=sys.stderr.isatty()):
                shown = found.threshold(args.confidence_threshold)
                picture = even_sided(shown.plot())
                if not count:
                    writer = open_video(output, rate, picture)
                    closing.callback(writer.release)
                    if args.json:
                        lines = closing.enter_context(output.with_suffix(".jsonl").open("w"))
                writer.write(picture[..., ::-1])
                if args.json:
                    lines.write(json.dumps({"frame": count, **shown.summary()}) + "\n")
                count += 1
        except KeyboardInterrupt:
            print("stopped")
    return count


def open_video(path: Path, rate: float, picture: np.ndarray) -> cv2.VideoWriter:
    """Open a video of pictures of this one's size."""
    codec = cv2.VideoWriter_fourcc(*VIDEO_CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), codec, rate, picture.shape[1::-1])
    if not writer.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write this video; take another folder or .avi")
    return writer


def even_sided(picture: np.ndarray) -> np.ndarray:
    """Cut off the last row or column where their number is odd, which video codecs refuse."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2])


def given_labels(args: argparse.Namespace) -> dict[str, list[int | str]]:
    """Return the labels on the command line by task: files, or numbers of classes."""
    found = {task.name: getattr(args, task.name) for _, task in TASK_REGISTRY}
    return {
        name: [int(value) if value.isdigit() else value for value in values]
        for name, values in found.items()
        if values
    }


def main(args: argparse.Namespace) -> None:
    inputs = [*args.paths, *args.input]
    if not inputs:
        raise ValueError("name an image, a folder of images, a video or the word webcam")
    # Wrong names are found before a model is built.
    items, output = list(items_of(inputs)), args.output
    if not any(map(is_video, items)):
        files = output_files(inputs, items, output)
        predictor = Predictor(args.config_file, args.weights, opts=args.opts)
        problems = run_on_images(predictor, items, files, args)
        print(f"{len(items) - len(problems)} images drawn in {output}")
        if problems:
            raise ValueError(f"{len(problems)} of {len(items)} images could not be read")
        return
    if len(items) > 1:
        raise ValueError("one video at a time, and no images with it")
    if wrong := [*given_labels(args), *["maps"] * args.maps]:
        raise ValueError(f"--{wrong[0]}: is for images, not for a video")
    source = str(items[0])
    if not output.suffix:
        output /= f"{stem_of(source)}.mp4"
    predictor = Predictor(args.config_file, args.weights, opts=args.opts)
    count = run_on_video(predictor, source, output, args)
    print(f"{count} frames of {source} drawn in {output}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
