"""MTI-Net's tables: their models, the paper's gains, and protocols."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reproduce.comparison import Comparison
from reproduce.mti_tables import DELTA, MTI_TABLES, TABLE_2A
from reproduce.plan import Plan
from reproduce.report import write_reports
from reproduce.settings import differences
from reproduce.tables import find_table
from rock_d2 import model_zoo

# Δm that follow from the printed figures of table 2b; the paper prints others (-4.26, 3.35, ...).
PASCAL_GAINS = {
    "MTL (s)": -4.52,
    # The figure of its parts is lost.
    "MTL (a)": None,
    "Ours (s)": 3.57,
    "Ours (s) (E)": 4.24,
    "Ours (s) (N)": 2.95,
    "Ours (s) (E+N)": 3.64,
    "Ours (a)": 2.92,
}


def plan_of(*names: str, dataset: str = "rooms", **options) -> Plan:
    options = {"output": Path("out"), "seeds": [1]} | options
    return Plan([find_table(name) for name in names], dataset=dataset, **options)


def test_rooms_have_the_models_of_their_files():
    """Given as differences of NYUD-v2's, the models are those of the files that rooms have."""
    for row in TABLE_2A[1:]:
        file = model_zoo.CONFIGS / f"mti/rooms/{row.config}.yaml"
        if file.is_file():
            (run,) = plan_of("mti2a").run(find_table("mti2a"), row, seed=1)
            assert differences(run.config(), model_zoo.get_config(str(file))) == []


@pytest.mark.parametrize("detector", ["SSD", "RetinaNet"])
def test_models_with_a_detector_differ_by_their_neck(detector):
    plain, rock, mti = (run.config() for run in plan_of("mti_detector", detector=detector).runs())
    assert [key for key, _, _ in differences(rock, plain)] == ["MODEL.NECK.NAME"]
    found = {key.split(".")[1] for key, _, _ in differences(mti, plain)}
    assert found == {"NECK", "MTI", "TASKS"}


@pytest.mark.parametrize(("name", "margin"), [("mti2a", 0.085), ("mtiS3", 0.035)])
def test_gains_of_nyud_follow_from_the_papers_figures(name, margin):
    table = find_table(name)
    found = papers_gains(name, dataset="nyud")
    assert found.keys() == {row.title for row in table.rows[1:]}
    for row in table.rows[1:]:
        assert found[row.title] == pytest.approx(table.papers(row)[DELTA], abs=margin)


def test_gains_of_pascal_are_the_papers_but_for_a_factor():
    found = papers_gains("mti2b", dataset="pascal")
    assert found == pytest.approx(PASCAL_GAINS, abs=0.01)


def papers_gains(name: str, dataset: str) -> dict[str, float]:
    text = Comparison(plan_of(name, dataset=dataset), find_table(name)).papers_gains()
    words = text.removesuffix(".").partition(": ")[2].split(", ")
    unknown = " unknown (no human_parts/miou of the model)"
    found = {word.removesuffix(unknown): None for word in words if word.endswith(unknown)}
    pairs = (word.rsplit(" ", 1) for word in words if not word.endswith(unknown))
    return found | {title: float(value) for title, value in pairs}


def test_every_model_of_every_table_has_its_config():
    for table in MTI_TABLES:
        for dataset in table.datasets:
            runs = plan_of(table.name, dataset=dataset).runs()
            assert len({run.folder for run in runs}) == len(runs)
            assert all(f"configs/mti/{dataset}/" in run.base for run in runs)
    with pytest.raises(ValueError, match="table mti2b needs --dataset pascal"):
        plan_of("mti2b").runs()
    runs = plan_of("mti4").runs()
    scales = [run.config().MODEL.MTI.EVALUATE_SCALE for run in runs if run.trained]
    assert scales == ["s32", "s16", "s8", "s4"]
    assert {run.trained for run in runs[3:]} == {runs[2]}
    # Eleven models with two single-task runs; three of table 3 are not in table 2a.
    assert len(plan_of("mti2a", "mti3", "mtiS2").runs()) == 12 + 3


def write_results(folder: Path, protocol: str = "rooms", **metrics: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = {"sem_seg": {"miou": metrics["miou"]}, "depth": {"rmse": metrics["rmse"]}}
    tasks = {"single_hrnet18_semseg": ["sem_seg"], "single_hrnet18_depth": ["depth"]}
    main = tasks.get(folder.parent.name, ["sem_seg", "depth"])
    document = {"protocol": protocol, "main": main, **{task: found[task] for task in main}}
    (folder / "results.json").write_text(json.dumps(document))


@pytest.fixture
def measured(tmp_path) -> Plan:
    """Single tasks with an IoU of 0.2, 0.25 and a root mean square of 1 m, and MTL with others."""
    for seed, (single, joint, rmse) in enumerate([(0.20, 0.21, 0.9), (0.25, 0.2, 1.1)], start=1):
        for task in ("semseg", "depth"):
            folder = tmp_path / f"single_hrnet18_{task}" / f"seed{seed}"
            write_results(folder, miou=single, rmse=1.0)
        write_results(tmp_path / "mtl_hrnet18" / f"seed{seed}", miou=joint, rmse=rmse)
    plan = plan_of("mti7a", output=tmp_path, seeds=[1, 2])
    table = plan.tables[0]
    return replace(plan, tables=[replace(table, rows=table.rows[:2])])


def test_gains_are_over_single_tasks_of_the_same_seed(measured):
    comparison = Comparison(measured, measured.tables[0])
    row = measured.tables[0].row("MTL")
    # (5 + 10) / 2 and (-20 - 10) / 2.
    assert comparison.values(row, DELTA) == pytest.approx({1: 7.5, 2: -15})
    found = comparison.difference(row)
    assert (found.mean, found.count) == (pytest.approx(-3.75), 2)
    assert comparison.papers_difference(row) == -1.71
    report = write_reports(measured)[0].read_text()
    assert "Protocol of our figures: rooms. Of the paper's: nyud40_480x640." in report
    # Of table 7's changes, those of the parameters do not depend on the images' size.
    line = next(line for line in report.split("## Sizes")[1].splitlines() if "| MTL" in line)
    assert "-49.0 %" in line and "-50.0 %" in line


def test_two_protocols_do_not_come_into_one_table(measured):
    write_results(measured.output / "mtl_hrnet18/seed1", "rooms+eigen", miou=0.2, rmse=1)
    with pytest.raises(ValueError, match=r"different protocols: .*by rooms, .*by rooms\+eigen"):
        Comparison(measured, measured.tables[0])


def test_settings_of_a_task_are_no_other_protocol_for_a_model_without_it(measured):
    capped = "rooms+DEPTH.EVAL_CAP=10.0"
    for name in ("single_hrnet18_depth", "mtl_hrnet18"):
        for seed in (1, 2):
            write_results(measured.output / name / f"seed{seed}", capped, miou=0.2, rmse=1)
    assert Comparison(measured, measured.tables[0]).protocol_name == capped
    write_results(measured.output / "mtl_hrnet18/seed1", miou=0.2, rmse=1)
    with pytest.raises(ValueError, match="different protocols"):
        Comparison(measured, measured.tables[0])
