"""Statistics over seeds against formulas and known numbers."""

import math

import pytest

from reproduce.statistics import paired_difference, spread


def test_spread_is_that_of_a_sample():
    # Squares of the distances from 30 are 4, 1, 1, 4; their sum over 4 - 1 is 10 / 3.
    assert spread([28, 29, 31, 32]) == pytest.approx((30, math.sqrt(10 / 3), 4))
    assert math.isnan(spread([28]).std)


def test_pairs_are_of_the_same_seed():
    found = paired_difference({1: 5.0, 2: 6.0, 3: 9.0}, {3: 1.0, 2: 2.0, 4: 50.0})
    assert (found.mean, found.count) == (6.0, 2)
    # A bootstrap sample of two pairs has the mean 4, 6 or 8, with chances of 1/4, 1/2 and 1/4.
    assert (found.low, found.high) == (4, 8)
    assert paired_difference({1: 5.0}, {2: 4.0}) is None


def test_p_value_of_three_pairs():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464 with two degrees of freedom, of which the
    # two-sided tail is 1 - t / sqrt(t^2 + 2).
    found = paired_difference({1: 11, 2: 27, 3: 10}, {1: 10, 2: 25, 3: 7})
    t = 2 * math.sqrt(3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_one_pair_has_neither_interval_nor_test():
    found = paired_difference({1: 11.0}, {1: 10.0})
    assert found.mean == 1 and found.count == 1
    assert math.isnan(found.low) and math.isnan(found.high) and math.isnan(found.p_value)


def test_differences_without_spread_have_no_test():
    found = paired_difference({1: 11.0, 2: 21.0}, {1: 10.0, 2: 20.0})
    assert (found.low, found.high) == (1, 1) and math.isnan(found.p_value)
