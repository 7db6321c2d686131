"""Every benchmark, from the command line to the JSON, and the ratios of times."""

import json

import benchmark
import numpy as np
import pytest

from benchmarks.timing import report

ROWS = {"train": 4, "steps": 1, "infer": 3, "data": 5, "losses": 2, "eval": 2, "metrics": 2}
LIBRARIES = {"infer": ["onnxscript", "onnxruntime"], "eval": ["hotcoco"]}
CONFIG = ("--config", "quick_schedules/rock_rooms_quick.yaml", "INPUT.SIZE", "[48,64]")


@pytest.fixture
def command(rooms_root, tmp_path, monkeypatch, capsys):
    """Run a benchmark of one round; return its output and its folder of JSON files."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))

    def run(what: str, *words: object) -> tuple[str, list[dict]]:
        options = ["--rounds", 1, "--batch-size", 2, "--json", tmp_path / "json" / "times.json"]
        benchmark.main([str(word) for word in (what, *options, *CONFIG[:2], *words, *CONFIG[2:])])
        files = sorted((tmp_path / "json").glob("*.json"))
        return capsys.readouterr().out, [json.loads(file.read_text())["seconds"] for file in files]

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", ROWS)
def test_every_row_is_timed(what, command):
    for library in LIBRARIES.get(what, ()):
        pytest.importorskip(library, reason=f"{library}: pip install -e .[dev]")
    output, (times,) = command(what)
    assert len(times) == ROWS[what] and all(seconds > 0 for (seconds,) in times.values())
    assert all(name in output for name in times)


def test_a_large_set_is_read_and_its_workers_measured(capsys):
    words = ["large", "--images", 40, "--rounds", 1, "--batch-size", 2, *CONFIG]
    benchmark.main([str(word) for word in words])
    read, memory = capsys.readouterr().out.splitlines()[-2:]
    assert read.startswith("40 images with 200 boxes: ")
    first, second = memory.removeprefix("after 10 batches of 2: ").split(" MiB")[0].split(", ")
    # Python with PyTorch, of which the processes share a part.
    assert 20 < int(first) < 2000 and 20 < int(second) < 2000


def test_ratios_are_taken_round_by_round(capsys):
    # The second round was slow for both. b: 2, 3 and 4 times a.
    report({"a": np.array([1.0, 10, 1]), "b": np.array([2.0, 30, 4])}, title="t", images=8)
    row = capsys.readouterr().out.strip().splitlines()[-1]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    # 8 images in the median of 4 seconds.
    assert cells == ["b", "4000 (3000 to 1.7e+04)", "2", "3 (2.5 to 3.5)"]
