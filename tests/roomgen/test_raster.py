"""Silhouettes and visibility in a scene small enough to count by hand."""

import numpy as np
import pytest
from roomgen.primitives import BOX, ELLIPSOID, Primitives
from roomgen.raster import rasterise

# One pixel is one hundredth of the distance; the optical axis meets the corner of four pixels.
_MATRIX = np.array([[100.0, 0, 49.5], [0, 100.0, 49.5], [0, 0, 1]])
_SIZE = (100, 100)


def solids(*rows) -> Primitives:
    """Rows of (kind, centre, half sizes), not turned."""
    kind, centre, half = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    return Primitives(
        kind,
        np.ones(count),
        centre.astype(float),
        half.astype(float),
        np.tile(np.eye(3), (count, 1, 1)),
    )


@pytest.fixture(scope="module")
def scene() -> Primitives:
    return solids(
        (BOX, (0, 0, 5.5), (9, 9, 0.5)),  # a wall at z = 5
        (BOX, (0.5, 0, 2.5), (0.5, 0.5, 0.5)),  # front face at z = 2, drawn before what it hides:
        (BOX, (0.0, 0, 4.5), (0.8, 0.4, 0.5)),  # front face at z = 4, right half hidden
        (ELLIPSOID, (0, 0, -2), (1, 1, 1)),  # behind the camera
    )


def test_pixels_by_hand(scene):
    hits = rasterise(scene, np.arange(4), _MATRIX, *_SIZE)
    # The box at z = 4: 2 * 100 * 0.8 / 4 = 40 columns, 2 * 100 * 0.4 / 4 = 20 rows.
    # The one at z = 2: from x = 0 on, 50 columns (up to 100 * 1 / 2) and 50 rows.
    np.testing.assert_array_equal(hits.full_pixels, [100 * 100, 50 * 50, 40 * 20, 0])
    visible = np.bincount(hits.primitive.ravel(), minlength=4)
    np.testing.assert_array_equal(visible, [10000 - 2500 - 400, 2500, 400, 0])
    assert set(np.unique(hits.depth).round(9)) == {2.0, 4.0, 5.0}
