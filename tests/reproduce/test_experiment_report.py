"""From the folders of finished runs to Markdown and CSV."""

import csv
import json
import re
from pathlib import Path

import pytest

from reproduce.comparison import MAPS, Comparison
from reproduce.plan import Plan
from reproduce.report import write_reports
from reproduce.rock_tables import ROCK
from reproduce.tables import find_table

# AP50 of seeds 1, 2 and 3: the differences of ROCK to the baseline are 4, 5 and 6.
SCORES = {"table1_baseline": (20, 22, 24), "table1_flat": (21, 22), "table1_rock": (24, 27, 30)}


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    """Table 1 of rooms with a model that is missing and one that lacks a seed."""
    folder = tmp_path_factory.mktemp("reproduced")
    for model, scores in SCORES.items():
        for seed, score in enumerate(scores, start=1):
            write_run(folder / model / f"seed{seed}", score)
    plan = Plan([find_table("1")], dataset="rooms", seeds=(1, 2, 3), output=folder)
    assert all(file.is_file() for file in write_reports(plan))
    return folder


def write_run(folder: Path, score: float) -> None:
    """Write what a training of 40 iterations leaves, evaluated after 20."""
    folder.mkdir(parents=True)
    scores = {"AP50": score, "AP75": score / 2, "AP": score / 2, "AP50-bed": 2 * score}
    results = {"bbox": scores | {"AP50-night stand": None}}
    if folder.parent.name != "table1_baseline":
        results["scene"] = {"acc": score / 100}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "environment.txt").write_text("commit: abc\nmachine: 2 threads\n")
    step = {"time": 0.5, "images_per_second": 8.0, "memory_gb": 1.5}
    lines = [
        step | {"iteration": 19},
        {"iteration": 19, "bbox/AP50": score / 2},
        step | {"iteration": 39, "time": 1.5, "images_per_second": 8 / 3},
        {"iteration": 40, "bbox/AP50": score},
    ]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))


def grid(markdown: str, heading: str) -> list[list[str]]:
    """Return the table under a heading, without its header."""
    text = markdown[markdown.index(f"## {heading}") :]
    lines = re.findall(r"^\|.*\|$", text.split("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_markdown_has_means_differences_and_the_papers_figures(output):
    text = (output / "table1.md").read_text()
    rows = grid(text, "Results")
    assert rows[0][:4] == ["Detection baseline", "3", "22.0 ± 2.0", "31.2"]
    # t = 5 / (1 / sqrt(3)) = 8.66 with two degrees of freedom: p = 1 - t / sqrt(t^2 + 2) = 0.013.
    assert rows[3][0:4] == ["ROCK", "3", "27.0 ± 3.0", "37.6"]
    assert rows[3][8:] == ["+5.0", "[+4.0, +6.0]", "0.013", "3", "+6.4", "Detection baseline"]
    assert rows[1][8:12] == ["+0.5", "[+0.0, +1.0]", "0.500", "2"]
    assert rows[2][1:4] == ["0", "", "35.7"]
    assert "4 runs are not finished" in text
    assert grid(text, "AP50 (%) of each category")[0][:2] == ["bed", "44.0 ± 4.0"]
    # Twice as much as in all: the differences are 8, 10 and 12.
    changes = grid(text, "Changes in AP50 (%) of each category")
    assert changes == [["bed", "+1.0 [+0.0, +2.0]", "+10.0 [+8.0, +12.0]"]]
    settings = {row[0]: row[1:] for row in grid(text, "Differences to the paper's settings")}
    assert settings["`DATASETS.TRAIN`"] == ["['rooms_train']", "['nyuv2_train673']"]
    assert settings["`INPUT.FORMAT`"] == ["RGB", "BGR"]
    assert not any("MODEL.NECK" in name or "LOG_PERIOD" in name for name in settings)
    # 40 steps of 1 s are 0.011 hours; 4 images a step.
    costs = ["Detection baseline", "0.01 ± 0.00", "1.50 ± 0.00", "4.00 ± 0.00"]
    assert grid(text, "Cost")[0] == costs
    assert "code: abc; machine: 2 threads." in text


def test_gains_are_drawn_against_what_differs(output):
    """Points of ROCK and flat by the accuracy of their scenes; all have the same X."""
    plan = Plan([find_table("1")], dataset="rooms", seeds=(1, 2, 3), output=output)
    comparison = Comparison(plan, plan.tables[0])
    assert comparison.gains(ROCK, "scene/acc") == [(0.24, 4), (0.27, 5), (0.3, 6)]
    assert len({maps for maps, _ in comparison.gains(ROCK, MAPS)}) == 1
    assert (output / "table1_gain_scene.svg").is_file()
    assert "table1_gain_scene.svg" in (output / "table1.md").read_text()
    assert not (output / "table1_gain_maps.svg").exists()


def test_csv_holds_numbers(output):
    with (output / "table1.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["ROCK"]["AP50 difference mean"]) == 5
    assert rows["ROCK w/o fusion"]["AP50 mean"] == ""
    with (output / "table1_runs.csv").open() as file:
        runs = [(r["model"], int(r["seed"]), float(r["bbox/AP50"])) for r in csv.DictReader(file)]
    assert len(runs) == 8 and ("ROCK", 3, 30.0) in runs
