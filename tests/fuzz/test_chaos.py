"""Killed trainings lose nothing; more of it: tools/chaos.py."""

from fuzz.chaos import run_chaos


def test_killed_training_ends_as_the_undisturbed_one(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    events, differences = run_chaos(tmp_path, processes=1, kills=1, seed=0)
    assert events.total() == 1
    assert differences == []
