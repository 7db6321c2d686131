"""From the folders of finished runs to Markdown, CSV and HTML."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from reproduce.svg import mean_curve, nice_ticks

from reproduce.outcomes import read_log
from reproduce.plan import Plan
from reproduce.report import write_reports
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
    tables = [find_table("1"), find_table("3")]
    files = write_reports(Plan(tables, dataset="rooms", seeds=(1, 2, 3), output=folder))
    assert all(file.is_file() for file in files)
    return folder


def write_run(folder: Path, score: float) -> None:
    """As a training of 40 iterations leaves it, evaluated after 20."""
    folder.mkdir(parents=True)
    scores = {"AP50": score, "AP75": score / 2, "AP": score / 2, "AP50-bed": 2 * score}
    results = {"bbox": scores | {"AP50-night stand": None}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "environment.txt").write_text(f"commit: abc\nmachine: {score:g} threads\n")
    step = {"time": 0.5, "images_per_second": 8.0, "memory_gb": 1.5}
    lines = [
        step
        | {
            "iteration": 19,
            "gradient_norm/a": 2.0,
            "gradient_cosine/a": -0.5,
            "gradient_seconds": 2.0,
        },
        {"iteration": 19, "bbox/AP50": score / 2},
        step | {"iteration": 39, "time": 1.5, "images_per_second": 8 / 3},
        {"iteration": 40, "bbox/AP50": score},
    ]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))


def grid(markdown: str, heading: str) -> list[list[str]]:
    """The table under a heading, without its header."""
    text = markdown[markdown.index(f"## {heading}") :]
    lines = re.findall(r"^\|.*\|$", text.split("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_markdown_has_means_differences_and_the_papers_figures(output):
    rows = grid((output / "table1.md").read_text(), "Results")
    assert rows[0][:4] == ["Detection baseline", "3", "22.0 ± 2.0", "31.2"]
    # t = 5 / (1 / sqrt(3)) = 8.66 with two degrees of freedom: p = 1 - t / sqrt(t^2 + 2) = 0.013.
    assert rows[3][0:4] == ["ROCK", "3", "27.0 ± 3.0", "37.6"]
    assert rows[3][8:] == ["+5.0", "[+4.0, +6.0]", "0.013", "3", "+6.4", "Detection baseline"]
    assert rows[1][8:12] == ["+0.5", "[+0.0, +1.0]", "0.500", "2"]
    assert rows[2][1:4] == ["0", "", "35.7"]
    assert "4 runs are not finished" in (output / "table1.md").read_text()


def test_differences_to_the_papers_setting_are_derived(output):
    rows = {row[0]: row[1:] for row in grid((output / "table1.md").read_text(), "What differs")}
    assert rows["initial weights (`MODEL.WEIGHTS`)"][0] == "random"
    assert rows["training data (`DATASETS.TRAIN`)"] == ["rooms_train", "nyuv2_train673"]
    assert rows["layers of the ResNet (`MODEL.RESNETS.DEPTH`)"] == ["18", "50"]
    assert not any("MODEL.NECK" in name or "LOG_PERIOD" in name for name in rows)
    other = {row[0]: row[1:] for row in grid((output / "table3.md").read_text(), "What differs")}
    assert other["training data (`DATASETS.TRAIN`)"][1] == "nyuv2_train"


def test_categories_stand_beside_the_papers(output):
    rows = grid((output / "table3.md").read_text(), "AP50 of each category")
    # Table 3's second category is the bed; "night stand" is not in the evaluated data.
    assert rows == [["bed", "44.0 ± 4.0", "", "61.8", "54.0 ± 6.0", "66.9"]]


def test_costs_are_of_the_steps(output):
    text = (output / "table1.md").read_text()
    rows = grid(text, "Cost")
    # 40 steps of 1 s are 0.011 hours; 4 images a step.
    assert rows[0] == ["Detection baseline", "0.01 ± 0.00", "1.50 ± 0.00", "4.00 ± 0.00"]
    machines = "20 threads; 21 threads; 22 threads; 24 threads; 27 threads; 30 threads"
    assert f"code: abc; machine: {machines}." in text


def test_gradients_are_shown_where_they_were_logged(output):
    rows = grid((output / "table1.md").read_text(), "Gradients on the backbone: ROCK")
    assert rows == [["a", "2", "-0.5"]]
    assert "took 2.0 times as long as a step" in (output / "table1.md").read_text()


def test_csv_holds_numbers(output):
    with (output / "table1.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["ROCK"]["AP50 difference mean"]) == 5
    assert rows["ROCK w/o fusion"]["AP50 mean"] == ""
    with (output / "table1_runs.csv").open() as file:
        runs = [(r["model"], int(r["seed"]), float(r["bbox/AP50"])) for r in csv.DictReader(file)]
    assert len(runs) == 8 and ("ROCK", 3, 30.0) in runs


def test_page_needs_nothing_else_and_charts_are_well_formed(output):
    page = (output / "table1.html").read_text()
    assert page.count("<svg") == 2 + 1 + 3
    assert not re.search(r"(src|href)=|@import|url\(", page)
    for name in ("results", "curves", "categories"):
        root = ET.parse(output / f"table1_{name}.svg").getroot()
        assert root.tag.endswith("svg")
    dots = ET.parse(output / "table1_results.svg").getroot().findall("{*}circle")
    assert len(dots) == 8


def test_what_was_done_twice_counts_as_it_was_last(tmp_path):
    lines = ['{"iteration": 19, "a": 1}', '{"iteration": 39, "a": 2}', '{"itera']
    lines += ['{"iteration": 39, "a": 3}', '{"iteration": 39, "b": 4}']
    (tmp_path / "metrics.json").write_text("\n".join(lines))
    log = read_log(tmp_path / "metrics.json")
    assert {i: (line["a"], line.get("b")) for i, line in log.items()} == {19: (1, None), 39: (3, 4)}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (21.3, 28.9, [20, 22, 24, 26, 28, 30]),
        (0, 4500, [0, 1000, 2000, 3000, 4000, 5000]),
        (-0.13, 0.2, [-0.2, -0.1, 0, 0.1, 0.2]),
        (5, 5, [5, 5.2, 5.4, 5.6, 5.8, 6]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_a_mean_curve_is_where_all_curves_are():
    assert mean_curve([{1: 2.0, 2: 4.0}, {2: 6.0, 3: 1.0}]) == {2: 5.0}
