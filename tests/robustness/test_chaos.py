"""Killed trainings lose nothing; more of it: tools/chaos.py."""

import re

from command_line import run

from rock_d2.robustness.chaos import FULL_DISK, differing


def test_killed_training_ends_as_the_one_in_peace(rooms_root):
    done = run("tools/chaos.py", "--kills", "3", "--seed", "0", root=rooms_root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences at the end" in done.stdout
    events = dict(re.findall(r"^(.+?) {2,}(\d+)$", done.stdout, re.MULTILINE))
    assert int(events["killed within a write"]) >= 1
    assert int(events[FULL_DISK]) == 1


def test_single_bit_counts_as_a_difference():
    import torch

    first = {"model": {"a": torch.zeros(3), "time": 1}, "list": [1, (2.0, None)]}
    second = {"model": {"a": torch.zeros(3), "time": 2}, "list": [1, (2.0, None)]}
    assert list(differing(first, second)) == []
    second["model"]["a"][1] = 1e-45
    second["list"][1] = (2.0, 0)
    assert list(differing(first, second)) == [".model.a", ".list.1.1"]
