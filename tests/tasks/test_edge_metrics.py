"""odsF, oisF and AP of edges: by hand, by law, and their matching by brute force."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rock_d2.tasks import Edges
from rock_d2.tasks.edge_matching import (
    edge_counts,
    maximum_matching,
    non_maxima_suppressed,
    outlier_matching,
    recall_and_precision,
)
from rock_d2.tasks.thinning import boundaries, thin

# A diagonal of 80.
SIZE = (48, 64)


def measure(*images, **settings):
    """Metrics of pairs of a prediction and a truth, maps (H, W)."""
    meter = Edges(**{"max_dist": 0.05} | settings).meter()
    return meter.metrics(sum(meter.count(np.float32(p)[None], np.float32(t)) for p, t in images))


def line(column: int, width: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[9:39, column : column + width] = True
    return mask


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, 1),
        ({"max_dist": 0.0}, 1),
        # A part of junctions and corners alone remains.
        ({"nms": True, "thresholds": 101}, 0.85),
        # Some outliers have no partner, and then pixels have none.
        ({"matching": "outliers", "max_dist": 0.01}, 0.98),
    ],
)
def test_a_perfect_prediction(settings, least):
    regions = np.random.default_rng(0).integers(0, 3, (8, 8)).repeat(6, axis=0).repeat(8, axis=1)
    # Non-maximum suppression fades what lies along the border, where nothing may be true then.
    truth = thin(boundaries(regions) & np.pad(np.ones((38, 54), bool), 5))
    metrics = measure((0.99 * truth, truth), **settings)
    assert least <= metrics["odsF"] <= 1 and metrics["oisF"] == metrics["odsF"]


@pytest.mark.parametrize(("shift", "f"), [(0, 1), (4, 1), (5, 0)])
def test_edges_match_up_to_the_largest_distance(shift, f):
    # 0.05 of 80 pixels are 4, which still match.
    assert measure((line(30 + shift), line(30)))["odsF"] == pytest.approx(f)


def test_thresholds_are_those_of_the_papers():
    # At 0.01, which is reached, and at 0.001.
    for value, thresholds, f in ((0.01, 99, 1), (0.005, 99, 0), (0.005, 101, 1)):
        found = measure((value * line(30), line(30)), thresholds=thresholds)
        assert found["odsF"] == f


def test_after_suppression_a_threshold_must_be_exceeded():
    # 0.5 is one of the thresholds; the ridge's own value stays.
    values = np.float32(0.5 * line(30))
    for nms, found in ((False, 30), (True, 0)):
        meter = Edges(max_dist=0.05, nms=nms, thresholds=99).meter()
        counts = meter.count(values[None], np.float32(line(30)))[5:].reshape(-1, 3)
        # Matches at 0.5, the 50th threshold.
        assert counts[49, 0] == found


def test_thick_edges_are_thinned():
    # Five columns become one, which is shorter by at most two pixels at each end.
    thick, truth = line(28, width=5), line(30)
    assert measure((thick, truth))["odsF"] >= 2 * 26 / (26 + 30)
    # As they are, 30 of the 150 pixels have a partner.
    distance = cdist(np.argwhere(thick), np.argwhere(truth))
    found = maximum_matching(*np.nonzero(distance <= 4), distance[distance <= 4], 4)
    assert 2 * found / (thick.sum() + truth.sum()) == pytest.approx(1 / 3)


def spread_out(values: list[float]) -> np.ndarray:
    """A map with these values, no two beside each other."""
    spread = np.zeros((20, 20))
    spread[2, 2 : 2 + 2 * len(values) : 2] = values
    return spread


def test_by_hand():
    first = spread_out([0.9, 0.9, 0.9, 0.4, 0.6, 0.6]), spread_out([1, 1, 1, 1, 0, 0])
    second = spread_out([0.4, 0.3, 0.2]), spread_out([1, 1, 0])
    # Matches, true and found up to a threshold of      0.2      0.3      0.4      0.6      0.9
    #   first                                         4 4 6    4 4 6    4 4 6    3 4 5    3 4 3
    #   second                                        2 2 3    2 2 2    1 2 1    0 2 0    0 2 0
    #   both                                          6 6 9    6 6 8    5 6 7    3 6 5    3 6 3
    metrics = measure(first, second, max_dist=0.01)
    # Both at 0.3: 12 / 14; the first at 0.9 and the second at 0.3: 5 of 6 and 5 of 5, 10 / 11.
    assert metrics["odsF"] == pytest.approx(6 / 7)
    assert metrics["oisF"] == pytest.approx(10 / 11)
    # Recall 0 (precision 1), 1/2 (3/5, at the lower threshold), 5/6 (5/7) and 1 (6/9): sums over
    # 51, 33 and 17 of the 101 points.
    sums = 51 - 0.8 * 12.75, 33 * 0.6 + 12 / 35 * 5.61, 17 * 2 / 3 + 2 / 7 * 1.36
    assert metrics["AP"] == pytest.approx(sum(sums) / 100)


def test_nothing_found_and_nothing_true():
    assert [float(x) for x in recall_and_precision(np.array([0, 5, 0]))] == [0, 1]
    assert [float(x) for x in recall_and_precision(np.array([0, 0, 5]))] == [1, 0]
    nothing = np.zeros(SIZE)
    for pair in ((nothing, line(30)), (line(30), nothing), (nothing, nothing)):
        metrics = measure(pair)
        assert (metrics["odsF"], metrics["oisF"], metrics["AP"]) == (0, 0, 0)
    # What is found where nobody knows is neither right nor wrong.
    unknown = np.where(line(10), 255, line(30))
    assert measure((line(10) | line(30), unknown), max_dist=0.01)["odsF"] == 1


def count(found: np.ndarray, truth: np.ndarray, matching) -> int:
    settings = {"thresholds": [0.5], "is_found": np.greater, "max_distance": 0.12}
    return edge_counts(found, truth, matching=matching, **settings)[0, 0]


def test_matching_is_that_of_brute_force():
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        share = rng.uniform(0.05, 0.9, size=2)[:, None, None]
        truth, found = (thin(mask) for mask in rng.uniform(size=(2, 12, 16)) < share)
        # 0.12 of 20 pixels.
        near = cdist(np.argwhere(truth), np.argwhere(found)) <= 2.4
        expected = near[linear_sum_assignment(near, maximize=True)].sum()
        assert count(found, truth, maximum_matching) == expected
        by_bsds = count(found, truth, outlier_matching)
        assert by_bsds == count(found, truth, outlier_matching) <= expected
        missed += expected - by_bsds
    # The random graph costs a pair now and then.
    assert 0 < missed < 200


def test_suppression_of_a_ridge_by_hand():
    values = np.zeros((20, 24), np.float32)
    values[:, 11:14] = 0.4, 0.6, 0.595
    kept = non_maxima_suppressed(values)
    # 1.01 * 0.4 is below 0.6, and 1.01 * 0.595 is not. The border's 5 pixels fade out.
    expected = np.zeros_like(values)
    expected[:, 12:14] = 0.6, 0.595
    expected *= np.array([0, 0.2, 0.4, 0.6, 0.8, *[1] * 10, 0.8, 0.6, 0.4, 0.2, 0])[:, None]
    np.testing.assert_allclose(kept, expected, atol=1e-7)
    # Across a diagonal the next values, one pixel away, are those between four pixels: 0.71 beside
    # the neighbours of 0.5, and 0.29 beside the ridge.
    values = np.eye(21, dtype=np.float32) + 0.5 * (np.eye(21, k=1) + np.eye(21, k=-1))
    inner = (slice(6, -6),) * 2
    np.testing.assert_allclose(non_maxima_suppressed(values)[inner], np.eye(21)[inner], atol=1e-6)


def test_truth_of_regions():
    regions = np.array([[7, 7, 9], [7, 7, 9], [7, 8, 8]])
    # Another region to the right, below, or below to the right.
    expected = np.array([[0, 1, 0], [1, 1, 1], [1, 0, 0]], bool)
    np.testing.assert_array_equal(boundaries(regions), thin(expected))
    # As NYUv2's truth, a line is what it and the pixels before it look like, thinned.
    pair = line(30), line(30)
    assert measure(pair, boundary_truth=True, max_dist=2 / 80)["odsF"] > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": 100}, r"EDGES\.THRESHOLDS is 100; .* 99, 101"),
        ({"matching": "best"}, r"EDGES\.MATCHING is 'best'; .* maximum, outliers"),
        ({"max_dist": -1.0}, r"EDGES\.MAX_DIST is -1\.0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Edges(**settings)
