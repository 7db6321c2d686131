"""Who takes turns with whom, and the ratios of their times."""

import json

import numpy as np

from benchmarks.timing import report


def test_ratios_are_taken_round_by_round(tmp_path, capsys):
    # The second round was slow for both. b: 2, 3 and 4 times a.
    times = {"a": np.array([1.0, 10, 1]), "b": np.array([2.0, 30, 4])}
    report(times, title="t", images=8, file=tmp_path / "made" / "x.json")
    row = capsys.readouterr().out.strip().splitlines()[-1]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    # 8 images in the median of 4 seconds.
    assert cells == ["b", "4000 (3000 to 1.7e+04)", "2", "3 (2.5 to 3.5)"]
    document = json.loads((tmp_path / "made" / "x.json").read_text())
    assert document["seconds"]["b"] == [2, 30, 4]
