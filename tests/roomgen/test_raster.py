"""Silhouettes, visibility and shadows of a scene small enough to count by hand."""

import numpy as np
import pytest
from roomgen.materials import MaterialTable, plain
from roomgen.primitives import BOX, ELLIPSOID, Primitives
from roomgen.raster import rasterise, surfaces
from roomgen.shading import Lamp, Lighting, radiance

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


def test_silhouette_of_an_object_of_two_primitives(scene):
    # Both boxes as one object: 800 + 2500 pixels less the 20 columns x 20 rows they share.
    hits = rasterise(scene, np.array([0, 1, 1, 2]), _MATRIX, *_SIZE)
    np.testing.assert_array_equal(hits.full_pixels, [10000, 800 + 2500 - 400, 0])


def test_a_gap_between_walls_is_an_error():
    with pytest.raises(ValueError, match="gap"):
        rasterise(solids((BOX, (0, 0, 5), (1, 1, 1))), np.arange(1), _MATRIX, *_SIZE)


def test_shadow_falls_away_from_the_lamp():
    # The lamp at the camera's left, a small box before a wall: its shadow lies to its right.
    scene = solids((BOX, (0, 0, 4.5), (9, 9, 0.5)), (BOX, (-0.5, 0, 2), (0.2, 0.2, 0.05)))
    hits = rasterise(scene, np.arange(2), _MATRIX, *_SIZE)
    surface = surfaces(scene, hits, _MATRIX)
    # From (-1, 0, 0) through (-0.5, 0, 2) to the wall at z = 4: x = 0, the image's centre.
    lamp = Lamp(np.array([-1.0, 0.0, 0.0]), power=np.ones(3))
    linear = radiance(
        surface,
        material=hits.primitive.ravel(),
        table=MaterialTable([plain((0.5, 0.5, 0.5)), plain((0.5, 0.5, 0.5))]),
        lighting=Lighting((lamp,), ambient=np.zeros(3)),
        casters=scene,
        shape=_SIZE,
        focal_length=100.0,
    )
    assert linear[50, 50].max() < 1e-6
    # Far above the shadow: distance^2 = 1 + 1.6^2 + 16, facing = 4 / distance,
    # strength = 4 / (distance^2 + 1), colour 0.5. Row 10 is y = 4 * (10 - 49.5) / 100 = -1.58.
    squared = (0.02 + 1) ** 2 + 1.58**2 + 16
    expected = 0.5 * 4 / (squared + 1) * 4 / np.sqrt(squared)
    np.testing.assert_allclose(linear[10, 50], expected, rtol=1e-4)
