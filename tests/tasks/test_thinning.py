"""Thinning, and the outlines of regions."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_d2.tasks.thinning import outlines, thin


def test_thinning_by_scikit_image():
    """The example of scikit-image 0.26's documentation of ``skimage.morphology.thin``."""
    square = np.zeros((7, 7), bool)
    square[1:-1, 2:-2] = True
    square[0, 1] = True
    expected = np.zeros((7, 7), bool)
    expected[range(5), [1, 2, 3, 3, 3]] = True
    np.testing.assert_array_equal(thin(square), expected)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.95))
@settings(deadline=None, max_examples=60)
def test_thinning_keeps_every_part_and_every_hole(seed, share):
    mask = np.random.default_rng(seed).uniform(size=(20, 24)) < share
    lines = thin(mask)
    assert (mask | ~lines).all() and (thin(lines) == lines).all()
    # Parts touch by corners, holes by sides; the outside is a hole, too.
    assert number_of_parts(mask, 8) == number_of_parts(lines, 8)
    assert number_of_parts(~np.pad(mask, 1), 4) == number_of_parts(~np.pad(lines, 1), 4)


def number_of_parts(mask: np.ndarray, connectivity: int) -> int:
    return cv2.connectedComponents(np.uint8(mask), connectivity=connectivity)[0]


def test_outlines_are_one_pixel_wide():
    regions = np.zeros((12, 16), np.int64)
    regions[:, 8:] = 900 * 256
    lines = outlines(regions)
    # Thinning may shorten a line by its end.
    assert (lines[1:-1].sum(axis=1) == 1).all() and (lines.sum(axis=0)[7:9].sum() == lines.sum())
    assert not outlines(np.full((3, 4), 7)).any()
