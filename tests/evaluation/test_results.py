"""Results as JSON."""

import json
import math

from rock_d2.evaluation.results import save_results


def test_json_has_null_for_nan(tmp_path):
    save_results({"bbox": {"AP": 31.25, "APs": math.nan}}, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"bbox": {"AP": 31.25, "APs": None}}
