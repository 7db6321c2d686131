"""Pictures for people: the labels of an image side by side, and contact sheets."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata
from detectron2.data.detection_utils import read_image
from detectron2.utils.visualizer import Visualizer

from rock_d2.tasks import AuxTask

# Captions stay legible on small images: panels are drawn at least this wide.
MIN_PANEL_WIDTH = 480
CAPTION_HEIGHT = 26


def draw_record(
    record: Mapping[str, Any], tasks: Sequence[AuxTask], metadata: Metadata
) -> np.ndarray:
    """One row of panels for a dataset dict: the objects, then each task's map.

    Returns:
        uint8 (H, W, 3), RGB. Labels that are not maps stand in the first panel's caption.
    """
    image = read_image(record["file_name"], format="RGB")
    height, width = image.shape[:2]
    scale = max(1.0, MIN_PANEL_WIDTH / width)
    drawn = Visualizer(image, metadata, scale=scale).draw_dataset_dict(record).get_image()
    size = (round(width * scale), round(height * scale))
    captions = [f"{len(record['annotations'])} objects"]
    panels = []
    for task in tasks:
        label = task.read(record)
        if label is None:
            captions.append(f"no {task.name}")
            continue
        drawing = task.draw(label, metadata)
        if drawing.image is None:
            captions.append(drawing.caption)
        else:
            panels.append(caption_panel(drawing.image, drawing.caption, size))
    return np.hstack([caption_panel(drawn, ", ".join(captions), size), *panels])


def caption_panel(image: np.ndarray, caption: str, size: tuple[int, int]) -> np.ndarray:
    """Resizes an RGB image to ``size`` (width, height) and sets a line of text above it."""
    strip = np.full((CAPTION_HEIGHT, size[0], 3), 255, np.uint8)
    cv2.putText(strip, caption, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)])


def contact_sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Sets pictures of any sizes in a grid, left to right, top to bottom."""
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows, height, columns, width, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet[row, : picture.shape[0], column, : picture.shape[1]] = picture
    return sheet.reshape(rows * height, columns * width, 3)
