"""Thinning, and the outlines of regions."""

import cv2
import numpy as np
import pytest
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


# By the share of true pixels: what ``skimage.morphology.thin`` of scikit-image 0.26 leaves of
# random masks, as packed bits.
THINNED = {
    0.5: "60153841914a97bea8b1488884a944498310aba5442c064248d13942352a80a2"
    "45dc84123e82075654c20869233d709d20179280150a0c404446124691312980",
    0.7: "a04bf421afb4aa127278d5e42d553e18508e2d2e9089d6d58d116bfa9388ff7c"
    "6147a0f822bc506f51c24ff03141d0a809a220591eff206629b4818270485e6c",
    0.9: "0000010001c8f6e002b709d03f19083c57a090223b40685104805cb00440bbc8"
    "0420fc04081128040810c918503f46a8b0558bf0482204108fc0002890000010",
}


@pytest.mark.parametrize(("seed", "share"), [*enumerate(THINNED)])
def test_random_masks_are_thinned_as_by_scikit_image(seed, share):
    mask = np.random.default_rng(seed).uniform(size=(16, 32)) < share
    assert np.packbits(thin(mask)).tobytes().hex() == THINNED[share]


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
