"""Read the images of files, folders, addresses, arrays, videos and cameras for a Predictor."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.client import HTTPException
from os import PathLike
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import urlopen

import cv2
import numpy as np
from PIL.Image import Image, registered_extensions

from rock_d2.image_files import FORMATS, is_file, read_color_image, rgb_pixels

IMAGE_SUFFIXES = sorted(end for end, kind in registered_extensions().items() if kind in FORMATS)
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
WEBCAM = "webcam"
DOWNLOADED, STREAMED = ("http", "https"), ("rtmp", "rtsp")
# A server may be silent for as long.
SECONDS = 30

Item: TypeAlias = np.ndarray | Image | str | PathLike | cv2.VideoCapture
Source: TypeAlias = Item | Iterable["Source"]


def scheme_of(item: Any) -> str:
    return urlsplit(item).scheme if isinstance(item, str) and "://" in item else ""


def is_video(item: Any) -> bool:
    """Return whether an item has frames: a video's file or address, a camera or a stream."""
    if not isinstance(item, str | PathLike):
        return isinstance(item, cv2.VideoCapture)
    path = urlsplit(item).path if scheme_of(item) else item
    is_stream = item == WEBCAM or scheme_of(item) in STREAMED
    return is_stream or Path(path).suffix.lower() in VIDEO_SUFFIXES


def items_of(source: Source) -> Iterator[Item]:
    """Yield the images and videos of a source; those of folders and patterns by their names.

    An item is the source itself where that is one image or video.
    """
    if isinstance(source, np.ndarray | Image | cv2.VideoCapture):
        yield source
    elif not isinstance(source, str | PathLike):
        for part in source:
            yield from items_of(part)
    elif Path(source).is_dir():
        files = sorted(Path(source).iterdir())
        found = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise ValueError(f"{source}: holds no image ({' '.join(IMAGE_SUFFIXES)})")
        yield from found
    elif source == WEBCAM or scheme_of(source) or is_file(source) or Path(source).exists():
        yield source
    else:
        root = Path(source).anchor
        found = sorted(Path(root).glob(str(Path(source).relative_to(root))))
        if not found:
            raise FileNotFoundError(f"{source}: is missing")
        for path in found:
            yield from items_of(path)


def images_of(item: Item) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Yield the name of an image, or of a video for each of its frames, and what reads it: RGB."""
    name = str(item) if isinstance(item, str | PathLike) else ""
    if is_video(item):
        for frame in frames_of(item):
            yield name, partial(cv2.cvtColor, frame, cv2.COLOR_BGR2RGB)
    else:
        yield name, partial(read_image, item)


def frames_of(item: str | PathLike | cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield a video's frames, BGR."""
    given = isinstance(item, cv2.VideoCapture)
    capture = item if given else cv2.VideoCapture(0 if item == WEBCAM else str(item))
    read, frame = capture.read()
    if not read:
        raise ValueError(f"{'the video' if given else item}: gives no frame that OpenCV reads")
    try:
        while read:
            yield frame
            read, frame = capture.read()
    finally:
        if not given:
            capture.release()


def read_image(item: np.ndarray | Image | str | PathLike) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), RGB; an array as it is."""
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, Image):
        return rgb_pixels(item)
    if scheme_of(item) not in DOWNLOADED:
        return read_color_image(item)
    # Not kept: iopath's cache takes the same path of two servers for one file.
    with NamedTemporaryFile() as file:
        try:
            with urlopen(item, timeout=SECONDS) as reply:
                copyfileobj(reply, file)
        except (OSError, HTTPException) as error:
            problem = f"{item}: cannot be downloaded ({error}); save the image and name its file"
            raise ValueError(problem) from None
        file.flush()
        try:
            return read_color_image(file.name)
        except ValueError as error:
            raise ValueError(str(error).replace(file.name, item)) from None
