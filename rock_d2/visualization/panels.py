"""Layout of panels: a drawing with its caption and colour scale, and rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rock_d2.files import atomic_file
from rock_d2.tasks.base import ColourScale, Drawing

# Captions stay legible on small images, and pictures of large ones stay small.
MIN_PANEL_WIDTH = 480
MAX_PANEL_WIDTH = 960
CAPTION_HEIGHT = 26
# White columns between panels.
GUTTER = 4
# A colour scale takes this share of its panel's caption.
SCALE_SHARE = 0.45


def panel_row(image: np.ndarray, drawings: Sequence[Drawing]) -> np.ndarray:
    """Set panels of the image's proportions side by side; one without a picture is white."""
    size = panel_size(image)
    gutter = np.full((size[1] + CAPTION_HEIGHT, GUTTER, 3), 255, np.uint8)
    first, *others = (panel(drawing, size) for drawing in drawings)
    return np.hstack([first, *(part for other in others for part in (gutter, other))])


def panel_size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(max(width, MIN_PANEL_WIDTH), MAX_PANEL_WIDTH) / width
    return round(width * scale), max(round(height * scale), 1)


def panel(drawing: Drawing, size: tuple[int, int]) -> np.ndarray:
    """Return a drawing at ``size`` (width, height) below its caption and its colour scale."""
    strip = np.full((CAPTION_HEIGHT, size[0], 3), 255, np.uint8)
    right = size[0]
    if drawing.scale is not None:
        right -= draw_scale(strip, drawing.scale)
    write(strip, drawing.caption, left=6, right=right)
    if drawing.image is None:
        return np.vstack([strip, np.full((size[1], size[0], 3), 255, np.uint8)])
    return np.vstack([strip, resized(drawing.image, size)])


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < picture.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(picture, size, interpolation=way)


def draw_scale(strip: np.ndarray, scale: ColourScale) -> int:
    """Draw a colour scale at the right end of a caption; return its width."""
    width = round(strip.shape[1] * SCALE_SHARE)
    left = strip.shape[1] - width
    low_end = write(strip, scale.low, left=left + 6, right=strip.shape[1])
    high_start = strip.shape[1] - 6 - text_width(scale.high)
    write(strip, scale.high, left=high_start, right=strip.shape[1])
    bar = cv2.resize(scale.colours[None], (high_start - low_end - 12, CAPTION_HEIGHT - 10))
    strip[5:-5, low_end + 6 : high_start - 6] = bar
    return width


FONT = {"fontFace": cv2.FONT_HERSHEY_SIMPLEX, "fontScale": 0.5, "thickness": 1}


def text_width(text: str) -> int:
    return cv2.getTextSize(text, **FONT)[0][0]


def write(strip: np.ndarray, text: str, *, left: int, right: int) -> int:
    """Write a line, narrower if it would pass ``right``; return its end."""
    width = text_width(text)
    line = np.full((CAPTION_HEIGHT, width + 4, 3), 255, np.uint8)
    cv2.putText(line, text, (0, 18), color=(0, 0, 0), lineType=cv2.LINE_AA, **FONT)
    if line.shape[1] > right - left:
        size = (right - left, CAPTION_HEIGHT)
        line = cv2.resize(line, size, interpolation=cv2.INTER_AREA)
    strip[:, left : left + line.shape[1]] = line
    return left + line.shape[1]


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most ``count`` of the items, spread over all of them."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture, whole or not at all, in the format of the path's suffix."""
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f"{path}: OpenCV writes no pictures of this suffix; take .png or .jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(path.suffix, picture[..., ::-1])[1]
    with atomic_file(path) as file:
        file.write(encoded.tobytes())
