"""What is compared, and the paper's figures."""

import pytest

from reproduce.tables import DECODERS, TABLES, find_table
from rock_d2.data.datasets.nyuv2 import THING_CLASSES


def test_gains_that_the_paper_names():
    """Sec. 4.1: ROCK 6.4, 1.3 and 2.3 over the baseline, flat MTL 3.1, 0.2 and 1.2."""
    table = {row.title: row for row in find_table("1").rows}
    baseline = table["Detection baseline"].paper
    for title, gains in (("ROCK", (6.4, 1.3, 2.3)), ("Flat MTL baseline", (3.1, 0.2, 1.2))):
        found = [a - b for a, b in zip(table[title].paper, baseline, strict=True)]
        assert found == pytest.approx(gains)


def test_every_row_is_compared_with_one_of_its_table():
    for table in [*TABLES, find_table(DECODERS)]:
        titles = [row.title for row in table.rows]
        assert len(set(titles)) == len(titles)
        assert {row.against for row in table.rows} <= {"", *titles}


def test_the_same_model_has_the_same_figures_everywhere():
    figures = {}
    for table in TABLES:
        for row in table.rows:
            if table.split == "val":
                assert figures.setdefault((row.config, row.fraction), row.paper) == row.paper


def test_decoders_are_switched_off_one_by_one_and_together():
    off = [row.switched_off for row in find_table(DECODERS).rows]
    assert off == [
        None,
        ("Scene",),
        ("Depth",),
        ("Normals",),
        ("Scene", "Depth", "Normals"),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("4", r"table 4 .* tools/analyze_model.py --latency; there are 1, 2, 3, 5, 6 and decoders"),
        ("8", r"'8' is no table of the paper; there are 1, .* and decoders"),
    ],
)
def test_other_tables_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find_table(name)
