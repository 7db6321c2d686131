"""Pictures in a folder, and all of them on one sheet."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from rock_d2.visualization import write_picture

# Width of a contact sheet, and the largest height of its rows.
SHEET_WIDTH = 1600
SHEET_ROW_HEIGHT = 600
# White pixels between pictures.
GUTTER = 4


def write_pictures(named: Iterable[tuple[str, np.ndarray]], folder: Path) -> int:
    """Write RGB pictures by their names as PNG files, and all in contact_sheet.png.

    The second picture of a name becomes <name>-2.png.

    Returns:
        The number of pictures.
    """
    counts, small = Counter(), []
    for name, picture in named:
        counts[name] += 1
        ending = f"-{counts[name]}" if counts[name] > 1 else ""
        write_picture(folder / f"{name}{ending}.png", picture)
        height, width = picture.shape[:2]
        scale = min(SHEET_WIDTH / width, SHEET_ROW_HEIGHT / height, 1)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    if small:
        write_picture(folder / "contact_sheet.png", contact_sheet(small))
    return counts.total()


def contact_sheet(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Set pictures, none wider than the sheet, side by side in rows, in their order."""
    rows: list[list[np.ndarray]] = []
    for picture in pictures:
        used = sum(other.shape[1] + GUTTER for other in rows[-1]) if rows else SHEET_WIDTH
        if used + picture.shape[1] > SHEET_WIDTH:
            rows.append([])
        rows[-1].append(picture)
    return np.vstack([sheet_row(row) for row in rows])


def sheet_row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    row = np.full((max(picture.shape[0] for picture in pictures), SHEET_WIDTH, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        row[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GUTTER
    return row
