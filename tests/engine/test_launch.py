"""How processes of a training meet."""

import pytest

from rock_d2.engine.launch import join


def test_restarts_on_several_machines_are_refused(monkeypatch):
    found = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_MAX_RESTARTS": "3", "GROUP_WORLD_SIZE": "2"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="torchrun --max-restarts works on one machine only"):
        join("cpu", timeout=1)
