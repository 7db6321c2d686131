"""Who takes turns with whom, and what becomes of the times."""

import json

import numpy as np
import pytest
from command_line import run_warm

from benchmarks.timing import Goal, chosen, report, take_turns


def test_candidates_take_turns():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = take_turns(candidates, rounds=3, warm_up=1)
    assert calls == list("abababab")
    assert times.keys() == {"a", "b"} and all(len(seconds) == 3 for seconds in times.values())


def test_rows_come_in_the_order_in_which_they_are_asked_for():
    assert chosen("abc", None) == ["a", "b", "c"]
    assert chosen("abc", ["c", "a"]) == ["c", "a"]
    with pytest.raises(ValueError, match="--only: 'd' is none of a; b; c"):
        chosen("abc", ["a", "d"])


def test_what_prepares_a_call_is_not_timed(monkeypatch):
    clock = [0.0]

    class Candidate:
        def prepare(self) -> None:
            clock[0] += 100

        def __call__(self) -> None:
            clock[0] += 1

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert list(take_turns({"a": Candidate()}, rounds=3, warm_up=0)["a"]) == [1, 1, 1]


def test_ratios_are_taken_round_by_round(tmp_path, capsys):
    # The second round was slow for both.
    times = {"a": np.array([1.0, 10, 1]), "b": np.array([2.0, 30, 4])}
    report(times, title="t", goals=[Goal("b", "a", 2.5), Goal("c", "a", 1)], file=tmp_path / "x")
    assert "b / a: 3 (2.5 to 3.5), goal 2.5" in capsys.readouterr().out
    document = json.loads((tmp_path / "x").read_text())
    assert document["seconds"]["b"] == [2, 30, 4]
    (goal,) = document["goals"]
    assert goal["ratio"]["median"] == pytest.approx(3)


def test_command_prints_and_writes(tmp_path):
    file = tmp_path / "eval.json"
    options = ["eval", "--images", "20", "--rounds", "2", "--json", file]
    done = run_warm("tools/benchmark.py", *options, root=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 images x 100 detections, 19 classes" in done.stdout
    assert len(json.loads(file.read_text())["seconds"]["pycocotools"]) == 2
