"""Reading an image file with errors that name it."""

from os import PathLike
from pathlib import Path

import cv2
import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"


def read_color_image(
    path: str | PathLike, *, rgb: bool = True, field: str | None = None
) -> np.ndarray:
    """uint8 (H, W, 3), turned upright by its EXIF tag; ``field`` as for ``read_pixels``."""
    image = read_pixels(path, cv2.IMREAD_COLOR, field=field)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if rgb else image


def read_pixels(path: str | PathLike, flags: int, *, field: str | None = None) -> np.ndarray:
    """The pixels as OpenCV decodes them, of a whole file only.

    Args:
        path: of the image.
        flags: of ``cv2.imread``.
        field: of the dataset dict that names it, if one does.
    """
    where = f"{path}: named by `{field}`," if field else f"{path}:"
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{where} is missing") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ValueError(f"{where} cannot be read: {reason}") from None
    if is_cut_short(content):
        raise ValueError(f"{where} is damaged: it ends before its image does")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as problem:
        # More pixels than OpenCV takes (OPENCV_IO_MAX_IMAGE_PIXELS).
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{where} cannot be decoded: {reason}") from None
    if pixels is None:
        raise ValueError(f"{where} is no image that OpenCV reads")
    return pixels


def is_cut_short(content: bytes) -> bool:
    """Whether a PNG or JPEG lacks its end.

    OpenCV fills what is missing of a JPEG with grey, and never returns from a PNG without pixels
    (5.0.0).
    """
    if content.startswith(JPEG):
        # The end comes after the start of the last scan, within which neither can occur.
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if not content.startswith(PNG):
        return False
    place, kinds = len(PNG), set()
    while place + 12 <= len(content):
        # A chunk: length, kind, content, checksum.
        kinds.add(content[place + 4 : place + 8])
        place += 12 + int.from_bytes(content[place : place + 4], "big")
        if b"IEND" in kinds:
            break
    return place > len(content) or not {b"IDAT", b"IEND"} <= kinds
