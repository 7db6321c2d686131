"""Weights & Biases, offline."""

import importlib.util

import pytest
from detectron2.utils.events import EventStorage

from rock_d2 import model_zoo
from rock_d2.engine.setup import check_config
from rock_d2.engine.wandb_writer import run_id

installed = importlib.util.find_spec("wandb") is not None


@pytest.mark.skipif(not installed, reason="the extra wandb is not installed")
def test_every_new_value_is_sent_once(tmp_path, monkeypatch):
    import wandb

    from rock_d2.engine.wandb_writer import WandbWriter

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = {"SEED": 1}
    writer = WandbWriter(
        project="rooms", output_dir=str(tmp_path), settings=settings, goes_on=False
    )
    sent = []
    log = wandb.run.log
    monkeypatch.setattr(
        wandb.run, "log", lambda *a, **k: (sent.append((a[0], k["step"])), log(*a, **k))
    )
    with EventStorage(0) as storage:
        storage.put_scalars(total_loss=2.5, lr=0.1)
        writer.write()
        storage.step()
        storage.put_scalar("total_loss", 1.5)
        writer.write()
    assert sent == [
        ({"total_loss": 2.5, "lr": 0.1}, 1),
        ({"total_loss": 1.5}, 2),
    ]
    assert dict(wandb.run.summary)["total_loss"] == 1.5
    assert wandb.run.config["SEED"] == 1
    writer.close()
    assert list(tmp_path.rglob("*.wandb"))


def test_a_resumed_training_has_its_run_and_a_new_one_another(tmp_path):
    first = run_id(tmp_path, goes_on=False)
    assert run_id(tmp_path, goes_on=True) == first
    # The same path, again or on another machine.
    assert run_id(tmp_path, goes_on=False) != first
    (tmp_path / "copy").mkdir()
    assert len(run_id(tmp_path / "copy", goes_on=True)) == len(first) == 32


@pytest.mark.skipif(installed, reason="the extra wandb is installed")
def test_missing_library_is_named_before_training():
    cfg = model_zoo.get_config("rock_rooms.yaml")
    cfg.WANDB_PROJECT = "rooms"
    with pytest.raises(ValueError, match="WANDB_PROJECT is 'rooms', but wandb is not installed"):
        check_config(cfg)
