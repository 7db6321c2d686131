"""Weights & Biases as one of the writers, with a recorder in its place."""

import sys
from types import SimpleNamespace

from detectron2.utils.events import EventStorage
from trainings import config

from rock_d2.engine.writers import WandbWriter, build_writers


def test_every_new_value_is_sent_once_and_a_resumed_training_continues_its_run(
    tmp_path, monkeypatch
):
    sent, runs = [], []
    run = SimpleNamespace(log=lambda values, **k: sent.append((values, k["step"])))
    run.finish = lambda: sent.append("end")
    fake = SimpleNamespace(init=lambda **options: (runs.append(options), run)[1])
    monkeypatch.setitem(sys.modules, "wandb", fake)
    cfg = config(tmp_path, "WANDB_PROJECT", "rooms", "SEED", 7)
    writer = build_writers(cfg, start_iter=0)[-1]
    with EventStorage(0) as storage:
        storage.put_scalars(total_loss=2.5, lr=0.1)
        writer.write()
        storage.step()
        storage.put_scalar("total_loss", 1.5)
        writer.write()
    writer.close()
    assert sent == [({"total_loss": 2.5, "lr": 0.1}, 1), ({"total_loss": 1.5}, 2), "end"]
    assert runs[0]["project"] == "rooms" and runs[0]["config"]["SEED"] == 7
    for resumed in (True, False):
        WandbWriter("rooms", tmp_path, {}, resumed=resumed)
    assert runs[0]["id"] == runs[1]["id"] != runs[2]["id"]
