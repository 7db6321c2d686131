"""Wrong files, data sets and settings: each tool ends with one line that names them."""

import pytest
from command_line import run_warm

CONFIG = ("--config-file", "configs/quick_schedules/ssd_rooms_quick.yaml")


@pytest.mark.parametrize(
    ("tool", "words", "start"),
    [
        ("analyze_model", ("--config-file", "ssd"), "--config-file: 'ssd' does not end in .yaml"),
        ("analyze_model", ("--config-file", "no.yaml"), "no.yaml: there is no such config file"),
        ("overfit", (*CONFIG, "SOLVER.SPEED", "9"), "SOLVER.SPEED 9: Non-existent key"),
        ("overfit", (*CONFIG, "--num-images", "0"), "--num-images is 0; rooms_train has 15"),
        ("visualize_data", ("--dataset", "room"), "--dataset: 'room' is not registered; there are"),
        (
            "visualize_predictions",
            (*CONFIG, "DATASETS.TEST", "('room',)"),
            "DATASETS.TEST: 'room' is not registered; there are",
        ),
        ("benchmark", ("data", "--dataset", "room"), "--dataset: 'room' is not registered; there"),
        ("benchmark", ("train", "--dataset", "room"), "DATASETS.TRAIN: 'room' is not registered"),
        ("benchmark", ("loop", "--config", "no.yaml"), "no.yaml is no config; there are: "),
        ("benchmark", ("infer", "SPEED", "9"), "SPEED 9: Non-existent key"),
        ("benchmark", ("losses", "SPEED", "9"), "SPEED 9: Non-existent key"),
        ("benchmark", ("train", "--only", "Detectron"), "--only: 'Detectron' is none of Detec"),
    ],
)
def test_one_line_tells_what_is_wrong(tool, words, start, rooms_root):
    done = run_warm(f"tools/{tool}.py", *words, root=rooms_root)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tool}: {start}"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", [("--only", "rock_d2"), ("--profile",)])
def test_benchmarks_refuse_options_that_they_would_ignore(option, tmp_path):
    done = run_warm("tools/benchmark.py", "postprocess", *option, root=tmp_path)
    assert done.returncode == 2
    assert f"postprocess takes no {option[0]}" in done.stderr
