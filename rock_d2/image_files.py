"""Reading of image files, with errors that name the file, the field that named it and a remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow knows more formats; it starts another program to draw some of them.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
EXIF_ORIENTATION = 0x0112
# A file within a tar file: the place of its bytes there, and a name for people.
IN_TAR = re.compile(r"(?P<tar>.+\.tar)#(?P<start>\d+)\+(?P<size>\d+)(/.*)?")


def read_color_image(
    path: str | PathLike, *, rgb: bool = True, field: str | None = None
) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), RGB or BGR, turned upright by its EXIF tag.

    ``field`` is that of the dataset dict that names the file, if one does.
    """
    with _opened(path, field) as image:
        pixels = rgb_pixels(image)
    return pixels if rgb else np.ascontiguousarray(pixels[..., ::-1])


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """Return uint8 (H, W, 3), turned upright by the image's EXIF tag."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"holds {image.mode} pixels; colour images have 8 bits a channel")
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def read_pixels(path: str | PathLike, *, field: str | None = None) -> np.ndarray:
    """Return the pixels as the file holds them, (H, W) or (H, W, C) in its order of channels.

    The pixels of an image with a palette are indices; EXIF tags are ignored.
    """
    with _opened(path, field) as image:
        return np.array(image)


def exif_orientation(path: str | PathLike) -> int:
    """Return the EXIF tag that says how to turn the image, from 1 (upright) to 8."""
    with _opened(path, None) as image:
        return image.getexif().get(EXIF_ORIENTATION, 1)


def is_file(path: str | PathLike) -> bool:
    """Return whether a path names a file, or one in a tar file; also for one that cannot be one."""
    place = IN_TAR.fullmatch(str(path))
    try:
        return Path(place["tar"] if place else path).is_file()
    except (OSError, ValueError):
        return False


def content(path: str | PathLike) -> BinaryIO:
    place = IN_TAR.fullmatch(str(path))
    if not place:
        return open(path, "rb")
    with open(place["tar"], "rb") as tar:
        tar.seek(int(place["start"]))
        return BytesIO(tar.read(int(place["size"])))


@contextmanager
def _opened(path: str | PathLike, field: str | None) -> Iterator[Image.Image]:
    """Open an image; what goes wrong is a ValueError of one line."""
    where = f"{path}: named by `{field}`," if field else f"{path}:"
    try:
        # A pipe or a device would block the reader.
        if not is_file(path):
            raise FileNotFoundError(
                "is not a regular file" if Path(path).exists() else "is missing"
            )
        with content(path) as file, Image.open(file, formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{where} is no image of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS
        raise ValueError(f"{where} has more than {limit:,} pixels; scale it down") from None
    except (FileNotFoundError, ValueError) as problem:
        raise ValueError(f"{where} {problem}") from None
    # Pillow's decoders raise many kinds of exceptions for damaged files.
    except Exception as problem:
        reason = getattr(problem, "strerror", None) or " ".join(str(problem).split())
        raise ValueError(f"{where} cannot be read: {reason}") from None
