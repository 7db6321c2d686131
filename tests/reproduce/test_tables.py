"""Rows and the paper's figures, and statistics over seeds against formulas."""

import math

import pytest

from reproduce.statistics import paired_difference, spread


def test_spread_is_that_of_a_sample():
    # Squares of the distances from 30 are 4, 1, 1, 4; their sum over 4 - 1 is 10 / 3.
    assert spread([28, 29, 31, 32]) == pytest.approx((30, math.sqrt(10 / 3), 4))
    assert math.isnan(spread([28]).std)


def test_pairs_are_of_the_same_seed():
    found = paired_difference({1: 5.0, 2: 6.0, 3: 9.0}, {3: 1.0, 2: 2.0, 4: 50.0})
    # A bootstrap sample of two pairs has the mean 4, 6 or 8, with chances of 1/4, 1/2 and 1/4.
    assert (found.mean, found.low, found.high, found.count) == (6, 4, 8, 2)
    single = paired_difference({1: 11.0}, {1: 10.0})
    assert single.mean == 1 and math.isnan(single.low) and math.isnan(single.p_value)
    assert paired_difference({1: 5.0}, {2: 4.0}) is None
