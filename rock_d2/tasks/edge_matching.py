"""How many pixels of predicted edges lie on true ones, for odsF, oisF and AP.

The measure is BSDS's (Martin, Fowlkes and Malik, PAMI 2004) as SEISM has it (Pont-Tuset and
Marques, PAMI 2016), which papers on several tasks use. H x W pixels, T thresholds.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow, min_weight_full_bipartite_matching
from scipy.spatial import KDTree

from rock_d2.tasks.thinning import thin

TRIANGLE = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
# Of non-maximum suppression: how much smaller than a neighbour a maximum may be, and the pixels
# along the image's border that fade out.
TOLERANCE, FADED = 1.01, 5
# Of BSDS's graph: outliers that a pixel is joined to, and costs in units of the largest distance.
DEGREE, OUTLIER_COST = 6, 100
# BSDS's costs are whole hundredths of a pixel.
COST_UNIT = 100

# Both return the number of pairs of pixels ``i`` and ``j`` that are ``distance`` apart, each used
# once; ``limit`` is the largest distance.
Matching = Callable[[np.ndarray, np.ndarray, np.ndarray, float], int]


def non_maxima_suppressed(values: np.ndarray) -> np.ndarray:
    """Return float32 (H, W) with 0 beside ridges, as P. Dollár's toolbox and SEISM's reader."""
    values = np.float32(values)
    smooth = cv2.sepFilter2D(values, cv2.CV_32F, TRIANGLE, TRIANGLE, borderType=cv2.BORDER_REFLECT)
    dy, dx = np.gradient(smooth)
    (dyy, dxy), dxx = np.gradient(dy), np.gradient(dx, axis=1)
    angle = np.arctan(dyy * np.sign(-dxy) / (dxx + 1e-5)) % np.pi
    step = np.stack([np.sin(angle), np.cos(angle)])
    places = np.indices(values.shape)
    sides = [map_coordinates(values, places + s * step, order=1, mode="nearest") for s in (-1, 1)]
    kept = np.where(values * TOLERANCE < np.maximum(*sides), 0, values)
    for place, size in zip(places, values.shape, strict=True):
        kept = kept * np.minimum(np.minimum(place, size - 1 - place) / FADED, 1)
    return np.float32(kept)


def edge_counts(
    values: np.ndarray,
    truth: np.ndarray,
    *,
    thresholds: Sequence[float],
    is_found: Callable[[np.ndarray, float], np.ndarray],
    max_distance: float,
    matching: Matching,
) -> np.ndarray:
    """Return float64 (T, 3): pixels of the truth and the prediction that match, and of both.

    Predicted values and the thinned truth are (H, W); thresholds rise. ``is_found`` is np.greater
    or np.greater_equal; ``max_distance`` is in units of the image's diagonal.
    """
    limit, true = max_distance * np.hypot(*truth.shape), KDTree(np.argwhere(truth))
    counts, size = [], None
    for threshold in thresholds:
        found = is_found(values, np.float32(threshold))
        # Of equal size is the same, since what a larger threshold finds is a part.
        if size != (size := np.count_nonzero(found)):
            pixels = KDTree(np.argwhere(thin(found)))
            near = true.sparse_distance_matrix(pixels, limit, output_type="ndarray")
            pairs = matching(near["i"], near["j"], near["v"], limit) if len(near) else 0
            latest = pairs, true.n, pixels.n
        counts.append(latest)
    return np.array(counts, np.float64)


def maximum_matching(i: np.ndarray, j: np.ndarray, distance: np.ndarray, limit: float) -> int:
    """Return the largest number of pairs.

    SciPy's maximum_bipartite_matching would say the same, on some maps after half a minute only.
    """
    first, second = i.max() + 1, j.max() + 1
    sink = first + second + 1
    tails = np.concatenate([np.zeros(first, int), 1 + i, np.arange(1 + first, sink)])
    heads = np.concatenate([np.arange(1, 1 + first), 1 + first + j, np.full(second, sink)])
    ones = np.ones(len(tails), np.int32)
    graph = csr_array((ones, (tails, heads)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, 0, sink).flow_value)


def outlier_matching(i: np.ndarray, j: np.ndarray, distance: np.ndarray, limit: float) -> int:
    """Return the number of pairs that BSDS's code finds, whose graph is random in part.

    It assigns all pixels at the least cost, those without a partner to outliers, each to one of a
    few. So it misses a few pairs; here the graph is the same each time.
    """
    i, j = (np.unique(pixels, return_inverse=True)[1] for pixels in (i, j))
    first, second = i.max() + 1, j.max() + 1
    a, b, rng = np.arange(first), np.arange(second), np.random.default_rng(0)
    outlier = np.ceil(OUTLIER_COST * limit * COST_UNIT)
    # Rows are true pixels, then outliers for the found; columns are found ones, then outliers.
    spare = _different(rng, max(first, second), min(first, second), DEGREE)
    count = np.arange(len(spare))[:, None]
    rows, columns = (count, spare) if first < second else (spare, count)
    links = [
        (i, j, np.rint(COST_UNIT * distance)),
        (a[:, None], second + _others(rng, first), outlier),
        (first + _others(rng, second), b[:, None], outlier),
        (first + rows, second + columns, outlier),
        (a, second + a, OUTLIER_COST * outlier),
        (first + b, b, OUTLIER_COST * outlier),
    ]
    links = [np.stack(np.broadcast_arrays(*link)).reshape(3, -1) for link in links]
    rows, columns, costs = np.concatenate(links, axis=1).astype(np.int64)
    # SciPy takes a cost of 0 for no link; 1 more for each changes nothing.
    graph = csr_array((costs + 1, (rows, columns)), shape=(first + second,) * 2)
    rows, columns = min_weight_full_bipartite_matching(graph)
    return int(((rows < first) & (columns < second)).sum())


def _different(rng: np.random.Generator, rows: int, among: int, number: int) -> np.ndarray:
    """Return ints below ``among``, in each row different ones, ``number`` or all (R. W. Floyd)."""
    chosen = np.empty((rows, 0), int)
    for last in range(max(among - number, 0), among):
        drawn = rng.integers(last + 1, size=(rows, 1))
        drawn[(chosen == drawn).any(axis=1)] = last
        chosen = np.hstack([chosen, drawn])
    return chosen


def _others(rng: np.random.Generator, size: int) -> np.ndarray:
    chosen = _different(rng, size, size - 1, DEGREE)
    return chosen + (chosen >= np.arange(size)[:, None])


def f_measure(counts: np.ndarray) -> np.ndarray:
    """Return 2PR / (P + R) of counts (..., 3), 0 where nothing matches."""
    pairs, true, found = np.moveaxis(counts, -1, 0)
    return 2 * pairs / np.maximum(true + found, 1)


def recall_and_precision(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both of counts (..., 3); they are 1 where nothing is true, or found."""
    pairs, true, found = np.moveaxis(counts, -1, 0)
    recall = np.where(true > 0, pairs / np.maximum(true, 1), 1)
    return recall, np.where(found > 0, pairs / np.maximum(found, 1), 1)


def average_precision(counts: np.ndarray) -> float:
    """Return BSDS's AP of the counts (T, 3) of all images; 0 where there is one recall only."""
    recall, precision = recall_and_precision(counts)
    recall, first = np.unique(recall, return_index=True)
    if len(recall) == 1:
        return 0.0
    steps = np.linspace(0, 1, 101)
    # 101 points with a weight of 1 / 100, as there.
    return np.interp(steps, recall, precision[first], left=0, right=0).sum() / 100
