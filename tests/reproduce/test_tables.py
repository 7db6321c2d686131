"""Rows and the paper's figures, and statistics over seeds against formulas."""

import math

import pytest

from reproduce.statistics import paired_difference, spread
from reproduce.tables import DECODERS, TABLES, find_table


def test_gains_that_the_paper_names():
    """Sec. 4.1: ROCK 6.4, 1.3 and 2.3 over the baseline, flat MTL 3.1, 0.2 and 1.2."""
    table = {row.title: row for row in find_table("1").rows}
    baseline = table["Detection baseline"].paper
    for title, gains in (("ROCK", (6.4, 1.3, 2.3)), ("Flat MTL baseline", (3.1, 0.2, 1.2))):
        found = [a - b for a, b in zip(table[title].paper, baseline, strict=True)]
        assert found == pytest.approx(gains)


def test_rows_are_compared_within_their_table_and_have_the_same_figures_everywhere():
    figures = {}
    for table in [*TABLES, find_table(DECODERS)]:
        titles = [row.title for row in table.rows]
        assert len(set(titles)) == len(titles)
        assert {row.against for row in table.rows} <= {"", *titles}
        for row in table.rows if table in TABLES and table.split == "val" else ():
            assert figures.setdefault((row.config, row.fraction), row.paper) == row.paper


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


def test_p_value_of_three_pairs():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464 with two degrees of freedom, of which the
    # two-sided tail is 1 - t / sqrt(t^2 + 2).
    found = paired_difference({1: 11, 2: 27, 3: 10}, {1: 10, 2: 25, 3: 7})
    t = 2 * math.sqrt(3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    # Differences without spread have no test.
    assert math.isnan(paired_difference({1: 11.0, 2: 21.0}, {1: 10.0, 2: 20.0}).p_value)
