"""Decoding of image files from unknown senders, in a process of its own with a time limit.

A small file can take minutes to decode, or more memory than there is. Run as a program, which
imports little, this file is that process: it writes an image's pixels to the standard output.
"""

import io
import subprocess
import sys
from os import PathLike

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
# Photos of phones have 50 million pixels.
MAX_PIXELS = 60_000_000
MAX_ELONGATION = 8
# Larger images are scaled down to this longer side.
MAX_SIDE = 1600
SECONDS = 10
REFUSED = 3


def read_untrusted_image(path: str | PathLike, *, seconds: float = SECONDS) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), RGB, upright and scaled down.

    Raises:
        ValueError: if it cannot be had; the message does not repeat the file's name, which is as
            its sender wants it to be shown.
    """
    command = [sys.executable, __file__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ValueError(f"the image takes more than {seconds:g} s to decode") from None
    if done.returncode == REFUSED:
        raise ValueError(done.stderr.decode())
    if done.returncode:
        raise ValueError(f"the file is no image that can be read; take {', '.join(FORMATS)}")
    return np.load(io.BytesIO(done.stdout), allow_pickle=False)


def decode(path: str) -> np.ndarray:
    """Return the pixels; SystemExit says why not."""
    # Pillow's own limit lies above it, and the header alone is read here.
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            refuse(f"the image has {width} x {height} pixels; {MAX_PIXELS:,} are the limit")
        if max(width, height) > MAX_ELONGATION * min(width, height):
            refuse(
                f"the image has {width} x {height} pixels; one side may be {MAX_ELONGATION} times "
                "the other"
            )
        # JPEG files are then decoded at a fraction of their size.
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        pixels = ImageOps.exif_transpose(image).convert("RGB")
    pixels.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(pixels)


def refuse(reason: str) -> None:
    sys.stderr.write(reason)
    sys.exit(REFUSED)


if __name__ == "__main__":
    np.save(sys.stdout.buffer, decode(sys.argv[1]))
