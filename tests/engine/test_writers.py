"""Weights & Biases as one of the writers, with a recorder in its place."""

import sys
from types import SimpleNamespace

from trainings import config

from rock_d2.engine.writers import build_writers


def test_a_resumed_training_continues_its_run(tmp_path, monkeypatch):
    runs = []
    fake = SimpleNamespace(init=lambda **options: runs.append(options))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    cfg = config(tmp_path, "WANDB_PROJECT", "rooms", "SEED", 7)
    for start_iter in (0, 5, 0):
        build_writers(cfg, start_iter=start_iter)
    assert runs[0]["project"] == "rooms" and runs[0]["config"]["SEED"] == 7
    assert all(run["sync_tensorboard"] for run in runs)
    assert runs[0]["id"] == runs[1]["id"] != runs[2]["id"]
