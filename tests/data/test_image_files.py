"""Image files: read as they are meant, and refused in one line that names the file."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rock_d2.image_files import exif_orientation, read_color_image, read_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_photographs_are_turned_upright_and_label_maps_are_not(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    # 6: the camera was turned to the left, so that the picture has to be turned to the right.
    turns = {1: 0, 3: 2, 6: -1}[orientation]
    upright = np.rot90(PIXELS, turns)
    np.testing.assert_array_equal(read_color_image(tmp_path / "a.png"), upright)
    bgr = read_color_image(tmp_path / "a.png", rgb=False)
    np.testing.assert_array_equal(bgr, upright[..., ::-1])
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), PIXELS)
    assert exif_orientation(tmp_path / "a.png") == orientation


def test_label_maps_are_read_as_they_are_stored(tmp_path):
    millimetres = np.arange(1200, dtype=np.uint16).reshape(40, 30) * 50
    classes = (millimetres % 7).astype(np.uint8)
    Image.fromarray(millimetres).save(tmp_path / "depth.png")
    with_palette = Image.fromarray(classes)
    with_palette.putpalette(list(range(21)))
    with_palette.save(tmp_path / "classes.png")
    for name, expected in (("depth.png", millimetres), ("classes.png", classes)):
        found = read_pixels(tmp_path / name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def png_that_says(height: int, width: int) -> bytes:
    """A PNG of few bytes with a header of any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def whole_file(folder, ending: str) -> bytes:
    Image.fromarray(PIXELS).save(folder / f"whole.{ending}")
    return (folder / f"whole.{ending}").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda folder: b"no image", "is no image of the formats .*PNG"),
        (lambda folder: b"", "is no image"),
        (lambda folder: whole_file(folder, "png")[:-200], "cannot be read: .*truncated"),
        (lambda folder: whole_file(folder, "jpg")[:-200], "cannot be read: .*truncated"),
        (lambda folder: png_that_says(30_000, 30_000), "more than 178,956,970 pixels; scale"),
        # Drawn by another program.
        (lambda folder: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
    ],
)
def test_files_that_are_no_whole_image_are_refused(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content(tmp_path))
    for read in (read_color_image, read_pixels):
        with pytest.raises(ValueError, match=rf"^{path}: named by `some_file_name`, .*{message}"):
            read(path, field="some_file_name")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "not a regular"), (".", "not a regular"), ("b.png", "missing")):
        with pytest.raises(ValueError, match=rf"^{tmp_path / name}: is {message}"):
            read_color_image(tmp_path / name)
    with pytest.raises(ValueError, match="not a regular file"):
        read_color_image("/dev/zero")
