"""Results as tables and as JSON."""

import json
import math

from rock_d2.evaluation.results import results_table, save_results

RESULTS = {
    "bbox": {"AP": 31.25, "APs": math.nan, "AP-bed": 40.0, "AP-night-stand": math.nan},
    "other": {"within_11.25": 0.5},
}


def test_tables():
    overall, by_category = (
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        for table in results_table(RESULTS).split("\n\n")
    )
    values = [["bbox/AP", "31.250"], ["bbox/APs", "nan"], ["other/within_11.25", "0.500"]]
    assert overall[2:] == values
    assert by_category[0] == ["category", "AP"]
    assert by_category[2:] == [["bed", "40.000"], ["night-stand", "nan"]]


def test_json_has_null_for_nan(tmp_path):
    save_results(RESULTS, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["bbox"] == {
        **{"AP": 31.25, "APs": None, "AP-bed": 40.0, "AP-night-stand": None}
    }
