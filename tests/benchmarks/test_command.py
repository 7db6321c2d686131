"""Subjects that need a data set, from the command line to the JSON."""

import json

import pytest
from command_line import run_warm

SETTINGS = ("INPUT.SIZE", "[48,64]", "SOLVER.MAX_ITER", "4")


@pytest.mark.parametrize(("what", "rows"), [("data", 5), ("loop", 3), ("overlap", 2)])
def test_command_times_all_rows(what, rows, rooms_root, tmp_path):
    file = tmp_path / "times.json"
    options = ("--rounds", "1", "--batch-size", "2", "--threads", "1", "--json", file)
    config = ("--config", "quick_schedules/rock_rooms_quick.yaml")
    done = run_warm("tools/benchmark.py", what, *options, *config, *SETTINGS, root=rooms_root)
    assert done.returncode == 0, done.stderr
    times = json.loads(file.read_text())["seconds"]
    assert len(times) == rows and all(seconds > 0 for (seconds,) in times.values())
    assert all(name in done.stdout for name in times)
