"""Killed trainings lose nothing; more of it: tools/chaos.py."""

import re
import subprocess

import torch
from command_line import run

from fuzz.chaos import FULL_DISK, differing
from fuzz.torchrun_chaos import end


def test_killed_training_ends_as_the_one_in_peace(rooms_root):
    done = run("tools/chaos.py", "--kills", "3", "--seed", "0", root=rooms_root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences at the end" in done.stdout
    events = dict(re.findall(r"^(.+?) {2,}(\d+)$", done.stdout, re.MULTILINE))
    # Whether within a write, is up to the machine.
    assert sum(int(n) for event, n in events.items() if event.startswith("killed ")) >= 1
    assert int(events[FULL_DISK]) == 1


def test_torchrun_is_asked_before_it_is_killed():
    # As torchrun, it ends what it has started; killed, it would leave that behind.
    script = "trap 'kill $!; exit 3' TERM; sleep 600 & echo ready; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "ready\n"
        end(run)
        assert run.returncode == 3


def test_single_bit_counts_as_a_difference():
    first = {"model": {"a": torch.zeros(3), "time": 1}, "list": [1, (2.0, None)]}
    second = {"model": {"a": torch.zeros(3), "time": 2}, "list": [1, (2.0, None)]}
    assert differing(first, second) == []
    second["model"]["a"][1] = 1e-45
    second["list"][:] = [1.0, (2.0, 0)]
    assert differing(first, second) == [".model.a", ".list.0", ".list.1.1"]
    assert differing({"a": None, "size": 1}, {}) == [".a"]
