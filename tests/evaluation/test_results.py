"""Results as tables and as JSON."""

import json
import math

import pytest
from quota import files_up_to

from rock_d2.evaluation.results import results_table, save_results

RESULTS = {
    "bbox": {"AP": 31.25, "APs": math.nan, "AP-bed": 40.0, "AP-night-stand": math.nan},
    "other": {"within_11.25": 0.5},
}


def cells(table):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]


def test_tables():
    overall, by_category = map(cells, results_table(RESULTS).split("\n\n"))
    assert overall[0] == ["metric", "value"]
    values = [["bbox/AP", "31.250"], ["bbox/APs", "nan"], ["other/within_11.25", "0.500"]]
    assert overall[2:] == values
    assert by_category[0] == ["category", "AP"]
    assert by_category[2:] == [["bed", "40.000"], ["night-stand", "nan"]]
    assert "category" not in results_table({"other": {"acc": 1.0}})


def test_json_has_null_for_nan_and_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "results.json"
    with files_up_to(50), pytest.raises(OSError, match="File too large"):
        save_results(RESULTS, file)
    assert not file.exists()
    save_results(RESULTS, file)
    assert list(tmp_path.iterdir()) == [file]
    stored = json.loads(file.read_text(), parse_constant=lambda name: 1 / 0)
    assert stored["bbox"] == {"AP": 31.25, "APs": None, "AP-bed": 40.0, "AP-night-stand": None}
    assert stored["other"] == {"within_11.25": 0.5}
