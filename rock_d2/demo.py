"""A trained model over folders and videos: pictures, and predictions as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from rock_d2.image_files import read_color_image
from rock_d2.predictor import Predictor
from rock_d2.visualization import class_title, panel_row, prediction_drawings, write_picture

WEBCAM = "webcam"
VIDEO_CODECS = {".avi": "MJPG", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
# Of cameras and files that do not tell.
FRAMES_PER_SECOND = 25.0


def is_video(inputs: Sequence[str]) -> bool:
    """Whether the one input is a video file or the webcam."""
    return len(inputs) == 1 and (
        inputs[0] == WEBCAM or Path(inputs[0]).suffix.lower() in VIDEO_CODECS
    )


def list_images(inputs: Sequence[str]) -> list[Path]:
    """Image files, and those that lie in folders among them, which keep their files' order."""
    images = []
    for path in map(Path, inputs):
        if not path.exists():
            raise FileNotFoundError(f"{path}: is missing; --input takes images, folders or a video")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in inside if file.is_file() and cv2.haveImageReader(str(file))]
        if not found:
            raise ValueError(f"{path}: holds no image that OpenCV reads")
        images += found
    return images


def output_files(images: Sequence[Path], output: Path) -> list[Path]:
    """Where each image's picture goes: into ``output``, or to that file if it has a suffix."""
    if len(images) == 1 and output.suffix:
        return [output]
    files = [output / f"{image.stem}.png" for image in images]
    file, times = Counter(files).most_common(1)[0] if files else (None, 0)
    if times > 1:
        raise ValueError(f"{file}: two inputs have this name; run them into different folders")
    return files


def run_on_images(
    predictor: Predictor,
    images: Sequence[Path],
    output: Path,
    *,
    score_threshold: float,
    write_json: bool,
) -> None:
    """A picture for each image; with ``write_json`` its predictions in a file beside it."""
    files = output_files(images, output)
    size = predictor.batch_size
    starts = range(0, len(images), size)
    for start in tqdm(starts, desc="predicting", disable=None):
        pixels = [read_color_image(image) for image in images[start : start + size]]
        outputs = predictor(pixels, encodings=True)
        batch = zip(images[start:], files[start:], pixels, outputs, strict=False)
        for image, file, rgb, found in batch:
            write_picture(file, draw(predictor, rgb, found, score_threshold))
            if write_json:
                maps = write_maps(predictor, found, file)
                facts = {"file_name": str(image), **summary(predictor, found, score_threshold)}
                file.with_suffix(".json").write_text(json.dumps(facts | maps, indent=1))


def run_on_video(
    predictor: Predictor, source: str, output: Path, *, score_threshold: float, write_json: bool
) -> int:
    """A video of the pictures; with ``write_json`` a line for each frame in a file beside it.

    Returns:
        The number of frames.
    """
    if output.suffix.lower() not in VIDEO_CODECS:
        raise ValueError(f"{output}: a video's suffix must be one of {' '.join(VIDEO_CODECS)}")
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
                    facts = {"frame": count, **summary(predictor, found, score_threshold)}
                    lines.write(json.dumps(facts) + "\n")
                count += 1
        except KeyboardInterrupt:
            print("stopped")
    if not count:
        raise ValueError(f"{source}: gives no frame that OpenCV reads")
    return count


def open_video(path: Path, rate: float, picture: np.ndarray) -> cv2.VideoWriter:
    """A video of pictures of this one's size."""
    codec = cv2.VideoWriter_fourcc(*VIDEO_CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), codec, rate, picture.shape[1::-1])
    if not writer.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write this video; take another folder or .avi")
    return writer


def frames_of(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """RGB frames."""
    while True:
        read, frame = capture.read()
        if not read:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def even_sided(picture: np.ndarray) -> np.ndarray:
    """Without the last row or column where their number is odd, which video codecs refuse."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2])


def draw(
    predictor: Predictor, image: np.ndarray, output: Mapping[str, Any], score_threshold: float
) -> np.ndarray:
    drawings = prediction_drawings(
        image, output, predictor.tasks, predictor.metadata, score_threshold
    )
    return panel_row(image, drawings)


def summary(
    predictor: Predictor, output: Mapping[str, Any], score_threshold: float
) -> dict[str, Any]:
    """What a model's output says in words and numbers: objects, and rankings of classes."""
    found = output["instances"]
    height, width = found.image_size
    found = found[found.scores >= score_threshold]
    corners = found.pred_boxes.tensor.numpy().astype(float)
    boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).round(2).tolist()
    objects = zip(found.pred_classes.tolist(), found.scores.tolist(), boxes, strict=True)
    return {
        "height": height,
        "width": width,
        # As in COCO: left, top, width, height.
        "instances": [
            {"category": class_title(label, predictor.metadata), "score": score, "bbox": box}
            for label, score, box in objects
        ],
        **predictor.rankings(output, count=5),
    }


def write_maps(
    predictor: Predictor, output: Mapping[str, Any], picture: Path
) -> dict[str, dict[str, str]]:
    """Stores each predicted map (C, H, W) as ``<picture>_<task>.npy``, and says where."""
    files = {}
    for task in predictor.tasks:
        if task.name in output and output[task.name].ndim == 3:
            file = picture.with_name(f"{picture.stem}_{task.name}.npy")
            np.save(file, output[task.name].numpy())
            files[task.name] = {"file_name": str(file)}
    return files
