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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.structures import BoxMode
from PIL import Image
from tqdm import tqdm

from rock_d2.engine.command_line import (
    add_model_options,
    one_line_errors,
    parse,
    tool_parser,
)
from rock_d2.files import atomic_file
from rock_d2.image_files import FORMATS, read_color_image
from rock_d2.predictor import Predictor
from rock_d2.tasks import TASK_REGISTRY
from rock_d2.visualization import class_title, draw_output, write_picture

WEBCAM = "webcam"
IMAGE_SUFFIXES = {
    suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS
}
VIDEO_CODECS = {".avi": "MJPG", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
# Of cameras and files that do not have their own.
FRAMES_PER_SECOND = 25.0


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    inputs = "images, folders of images, one video, or the word webcam (until Ctrl-C)"
    add("paths", nargs="*", metavar="PATH", help=inputs)
    add("--input", nargs="+", default=[], metavar="PATH", help="the same, after other options")
    output = "folder for the pictures, or the file for one image or a video (default: %(default)s)"
    add("--output", type=Path, default="output/predictions", metavar="PATH", help=output)
    add_model_options(parser)
    add(
        "--json",
        action="store_true",
        help="also write the predictions: <picture>.json with <picture>_<task>.npy for the maps, "
        "or <video>.jsonl",
    )
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


def is_video(inputs: Sequence[str]) -> bool:
    """Return whether the one input is a video file or the webcam."""
    return len(inputs) == 1 and (
        inputs[0] == WEBCAM or Path(inputs[0]).suffix.lower() in VIDEO_CODECS
    )


def list_images(inputs: Sequence[str]) -> list[Path]:
    """Return the image files, and those in folders among them, in the order of their names."""
    images = []
    for path in map(Path, inputs):
        if not path.exists():
            raise FileNotFoundError(f"{path}: is missing; --input takes images, folders or a video")
        if not path.is_dir():
            images.append(path)
            continue
        found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise ValueError(f"{path}: holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})")
        images += found
    return images


def output_files(inputs: Sequence[str], images: Sequence[Path], output: Path) -> list[Path]:
    """Return the place of each image's picture: in ``output``, or that file if it has a suffix."""
    if len(images) == 1 and output.suffix and not output.is_dir():
        files = [output]
    else:
        files = [output / f"{image.stem}.png" for image in images]
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
    predictor: Predictor,
    images: Sequence[Path],
    files: Sequence[Path],
    *,
    score_threshold: float,
    write_json: bool,
    labels: Mapping[str, Sequence[Any]],
) -> None:
    """Write a picture for each image; with ``write_json`` its predictions in a file beside it.

    Each image's ``labels``, by task, are given to the model.
    """
    for name, values in labels.items():
        if len(values) != len(images):
            raise ValueError(f"--{name}: has {len(values)} labels for {len(images)} images")
    places = zip(tqdm(images, desc="predicting", disable=None), files, strict=True)
    for i, (image, file) in enumerate(places):
        rgb = read_color_image(image)
        given = {name: values[i] for name, values in labels.items()}
        found = predictor(rgb, encodings=True, **given)
        write_picture(file, draw(predictor, rgb, found, score_threshold))
        if write_json:
            facts = {"file_name": str(image), **summary(predictor, rgb, found, score_threshold)}
            facts |= write_maps(predictor, found, file)
            with atomic_file(file.with_suffix(".json")) as document:
                document.write(json.dumps(facts, indent=1).encode())


def run_on_video(
    predictor: Predictor, source: str, output: Path, *, score_threshold: float, write_json: bool
) -> int:
    """Write a video of pictures; with ``write_json`` a line for each frame in a file beside it.

    Returns:
        The number of frames.
    """
    if output.suffix.lower() not in VIDEO_CODECS:
        raise ValueError(f"{output}: a video's suffix must be one of {' '.join(VIDEO_CODECS)}")
    for file in (output, output.with_suffix(".jsonl")):
        check_output(file, [Path(source)])
    output.parent.mkdir(parents=True, exist_ok=True)
    capture = cv2.VideoCapture(0 if source == WEBCAM else source)
    rate = capture.get(cv2.CAP_PROP_FPS) or FRAMES_PER_SECOND
    count = 0
    with ExitStack() as closing:
        closing.callback(capture.release)
        try:
            for frame in tqdm(frames_of(capture), desc="frames", disable=None):
                found = predictor(frame, encodings=True)
                picture = even_sided(draw(predictor, frame, found, score_threshold))
                if not count:
                    writer = open_video(output, rate, picture)
                    closing.callback(writer.release)
                    if write_json:
                        lines = closing.enter_context(output.with_suffix(".jsonl").open("w"))
                writer.write(picture[..., ::-1])
                if write_json:
                    facts = {"frame": count, **summary(predictor, frame, found, score_threshold)}
                    lines.write(json.dumps(facts) + "\n")
                count += 1
        except KeyboardInterrupt:
            print("stopped")
    if not count:
        raise ValueError(f"{source}: gives no frame that OpenCV reads")
    return count


def open_video(path: Path, rate: float, picture: np.ndarray) -> cv2.VideoWriter:
    """Open a video of pictures of this one's size."""
    codec = cv2.VideoWriter_fourcc(*VIDEO_CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), codec, rate, picture.shape[1::-1])
    if not writer.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write this video; take another folder or .avi")
    return writer


def frames_of(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield RGB frames."""
    while True:
        read, frame = capture.read()
        if not read:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def even_sided(picture: np.ndarray) -> np.ndarray:
    """Cut off the last row or column where their number is odd, which video codecs refuse."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2])


def draw(
    predictor: Predictor, image: np.ndarray, output: Mapping[str, Any], score_threshold: float
) -> np.ndarray:
    return draw_output(image, output, predictor.tasks, predictor.metadata, score_threshold)


def summary(
    predictor: Predictor, image: np.ndarray, output: Mapping[str, Any], score_threshold: float
) -> dict[str, Any]:
    """Return a model's output in words and numbers: objects, and rankings of classes."""
    facts: dict[str, Any] = {"height": image.shape[0], "width": image.shape[1]}
    if "instances" in output:
        found = output["instances"]
        found = found[found.scores >= score_threshold]
        # As in COCO: left, top, width, height.
        boxes = BoxMode.convert(found.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        boxes = boxes.numpy().astype(float).round(2).tolist()
        objects = zip(found.pred_classes.tolist(), found.scores.tolist(), boxes, strict=True)
        facts["instances"] = [
            {"category": class_title(label, predictor.metadata), "score": score, "bbox": box}
            for label, score, box in objects
        ]
    return facts | predictor.rankings(output, count=5)


def write_maps(
    predictor: Predictor, output: Mapping[str, Any], picture: Path
) -> dict[str, dict[str, str]]:
    """Write each predicted map (C, H, W) to ``<picture>_<task>.npy``; return the names."""
    files = {}
    for task in predictor.tasks:
        if task.name in output and output[task.name].ndim == 3:
            path = picture.with_name(f"{picture.stem}_{task.name}.npy")
            with atomic_file(path) as file:
                np.save(file, output[task.name].numpy())
            files[task.name] = {"file_name": str(path)}
    return files


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
    video, output = is_video(inputs), args.output
    if video and not output.suffix:
        output /= f"{Path(inputs[0]).stem}.mp4"
    # Wrong names are found before a model is built.
    images = [] if video else list_images(inputs)
    files = [] if video else output_files(inputs, images, output)
    labels = given_labels(args)
    if labels and video:
        raise ValueError(f"--{next(iter(labels))}: labels are given for images, not for a video")
    predictor = Predictor(args.config_file, args.weights, opts=args.opts)
    choices = {"score_threshold": args.confidence_threshold, "write_json": args.json}
    if video:
        count = run_on_video(predictor, inputs[0], output, **choices)
        print(f"{count} frames of {inputs[0]} drawn in {output}")
    else:
        run_on_images(predictor, images, files, labels=labels, **choices)
        print(f"{len(images)} images drawn in {output}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
