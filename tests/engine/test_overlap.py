"""Evaluation beside the training: the training does not feel it, and it finds the same."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
import torch
from detectron2.engine.hooks import CallbackHook
from detectron2.utils import comm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from trainings import config, few_rooms, new_trainer, stored

from rock_d2.engine.ending import Interrupted
from rock_d2.engine.overlap import BackgroundEvaluation, check_overlap
from rock_d2.robustness.chaos import differing, metrics

# Evaluated after 2, 4 and 6 iterations; the best is that after 4, which is known after 6.
SERIAL = (
    *("MODEL_EMA.ENABLED", True, "SOLVER.ACCUMULATE", 2),
    *("DATASETS.TEST", ("few_val",), "TEST.EVAL_PERIOD", 2, "TEST.NUM_PICTURES", 1),
    *("TEST.BEST_METRIC", "depth/rmse", "TEST.BEST_MODE", "min"),
)
OVERLAPPED = (*SERIAL, "TEST.OVERLAP", True)


@pytest.fixture(scope="module", autouse=True)
def _rooms(rooms_root):
    with few_rooms(rooms_root):
        yield


@pytest.fixture(scope="module")
def serial(rooms_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    new_trainer(folder, *SERIAL).train()
    return folder


@pytest.fixture(scope="module")
def overlapped(rooms_root, tmp_path_factory) -> Path:
    """The first evaluation does not begin before the training has gone on."""
    folder, has_gone_on = tmp_path_factory.mktemp("overlapped"), threading.Event()
    trainer = new_trainer(folder, *OVERLAPPED)
    measure = trainer.measure

    def measure_later(model: nn.Module):
        assert has_gone_on.wait(timeout=60)
        return measure(model)

    trainer.measure = measure_later
    going_on = CallbackHook(before_step=lambda t: has_gone_on.set() if t.iter == 3 else None)
    trainer.register_hooks([going_on])
    trainer.train()
    return folder


def comparable(folder: Path) -> dict:
    content = stored(folder)
    del content["identity"]["others"]
    return content


def by_iteration(folder: Path) -> dict[int, dict[str, float]]:
    lines: dict[int, dict[str, float]] = {}
    for line in metrics(folder):
        lines[line["iteration"]] = lines.get(line["iteration"], {}) | line
    return lines


def interrupted(straight: Path, folder: Path, after: int) -> Path:
    """What is there if the process dies at the end, having saved after ``after`` iterations."""
    shutil.copytree(straight, folder)
    (folder / "last_checkpoint").write_text(f"model_{after - 1:07d}.pth")
    (folder / "model_final.pth").unlink()
    return folder


def test_training_and_results_are_those_of_serial_evaluation(serial, overlapped):
    assert differing(comparable(serial), comparable(overlapped)) == []
    assert by_iteration(serial) == by_iteration(overlapped)
    # Each line when its values were known.
    assert [line["iteration"] for line in metrics(serial)] == [1, 2, 3, 5, 6]
    assert [line["iteration"] for line in metrics(overlapped)] == [1, 2, 1, 3, 3, 5, 6]
    results = [json.loads((folder / "results.json").read_text()) for folder in (serial, overlapped)]
    assert results[0] == results[1]


def test_training_is_that_without_evaluation(serial, tmp_path):
    new_trainer(tmp_path, *SERIAL, "TEST.EVAL_PERIOD", 0).train()
    expected, found = stored(serial), stored(tmp_path)
    for part in ("model", "processes"):
        assert differing(expected[part], found[part]) == []


def test_best_model_has_the_weights_that_were_evaluated(serial, overlapped):
    best = stored(overlapped, "model_best")
    assert (best["iteration"], best.keys()) == (4, {"model", "style", "iteration"})
    assert differing(stored(serial, "model_best")["model"], best["model"]) == []
    assert differing(stored(overlapped, "model_0000003")["model"], best["model"]) == []
    # Training has left them behind by then.
    assert differing(stored(overlapped)["model"], best["model"]) != []


def test_tensorboard_shows_results_at_the_iteration_of_their_weights(overlapped):
    events = EventAccumulator(str(overlapped), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Scalars("depth/rmse")] == [1, 3, 6]
    assert [event.step for event in events.Scalars("total_loss")] == [2, 5]
    (title,) = events.Tags()["images"]
    assert [event.step for event in events.Images(title)] == [1, 3, 6]


@pytest.mark.parametrize(("after", "of_iteration"), [(2, 1), (5, 3)])
def test_resumed_training_evaluates_again_what_was_under_way(
    overlapped, tmp_path, after, of_iteration
):
    folder = interrupted(overlapped, tmp_path / "run", after)
    state = stored(folder, f"model_{after - 1:07d}")["trainer"]["hooks"]["OverlappedEvaluations"]
    assert state["iteration"] == of_iteration
    # Weights that the checkpoint holds anyway are not stored twice.
    assert (state["weights"] is None) == (after == 2)
    new_trainer(folder, *OVERLAPPED, resume=True).train()
    assert differing(comparable(overlapped), comparable(folder)) == []
    assert metrics(folder) == metrics(overlapped)
    assert differing(stored(overlapped, "model_best"), stored(folder, "model_best")) == []


def test_signal_does_not_wait_for_an_evaluation(overlapped, tmp_path):
    # The thread makes loader workers, which must end in order.
    settings = ("SOLVER.CHECKPOINT_PERIOD", 100, "DATALOADER.NUM_WORKERS", 1)
    trainer = new_trainer(tmp_path, *OVERLAPPED, *settings)
    measure = trainer.measure

    def measure_without_end(model: nn.Module):
        while True:
            measure(model)

    def ask(trainer) -> None:
        if trainer.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.measure = measure_without_end
    trainer.register_hooks([CallbackHook(before_step=ask)])
    with pytest.raises(Interrupted, match="signal 15 after 3 of 6"):
        trainer.train()
    assert not [thread for thread in threading.enumerate() if "evaluation" in thread.name]
    new_trainer(tmp_path, *OVERLAPPED, resume=True).train()
    assert differing(comparable(overlapped), comparable(tmp_path)) == []
    assert metrics(tmp_path) == metrics(overlapped)


@pytest.mark.parametrize("settings", [SERIAL, OVERLAPPED], ids=["serial", "overlapped"])
def test_error_in_an_evaluation_ends_the_training(settings, tmp_path):
    (tmp_path / "inference").write_text("no folder")
    trainer = new_trainer(tmp_path, *settings, "SOLVER.CHECKPOINT_PERIOD", 100)
    with pytest.raises(NotADirectoryError, match=r"Not a directory: '.*/inference/few_val'"):
        trainer.train()
    assert trainer.iter < 5


def test_early_stopping_measures_the_weights_that_are_final(overlapped, tmp_path):
    patience = ("TEST.BEST_MODE", "max", "SOLVER.EARLY_STOPPING.PATIENCE", 1)
    new_trainer(tmp_path, *OVERLAPPED, *patience, "SOLVER.MAX_ITER", 9).train()
    # After 2 iterations it was best. After 4 it was worse, as is known after 6.
    lines, final = by_iteration(tmp_path), stored(tmp_path)
    assert final["trainer"]["iteration"] == 5
    assert final["trainer"]["hooks"]["BestModel"]["best_iteration"] == 2
    assert lines[1]["depth/rmse"] > max(lines[3]["depth/rmse"], lines[5]["depth/rmse"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["depth"]["rmse"] == lines[5]["depth/rmse"]


def test_another_models_evaluation_is_not_gone_on_with(overlapped, tmp_path):
    folder = interrupted(overlapped, tmp_path / "run", after=3)
    other = ("MODEL.NECK.NAME", "IdentityNeck", "TEST.BEST_METRIC", "bbox/AP50")
    trainer = new_trainer(folder, *OVERLAPPED, *other, resume=True, anyway=True)
    trainer.train()
    assert [line["iteration"] for line in metrics(folder)] == [1, 2, 3, 3, 5, 6]


def test_abandoned_evaluation_ends_before_its_next_batch():
    has_begun = threading.Event()

    def measure_without_end(model: nn.Module) -> None:
        while True:
            model(torch.zeros(1))
            has_begun.set()

    evaluation = BackgroundEvaluation(measure_without_end, nn.Linear(1, 1), iteration=0)
    assert has_begun.wait(timeout=60)
    evaluation.abandon()
    evaluation.raise_if_failed()


@pytest.mark.parametrize(
    ("settings", "processes", "message"),
    [
        ((), 2, "TEST.OVERLAP does not go with 2 processes, which"),
        (("TEST.COMPILE", True), 1, "does not go with SOLVER.COMPILE or TEST.COMPILE, since"),
        (("SOLVER.COMPILE", True), 1, "does not go with SOLVER.COMPILE or TEST.COMPILE, since"),
        (("WANDB_PROJECT", "rooms"), 1, "TEST.OVERLAP does not go with WANDB_PROJECT, since"),
    ],
    ids=["processes", "compile", "compiled training", "wandb"],
)
def test_what_it_does_not_go_with(settings, processes, message, tmp_path, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    with pytest.raises(ValueError, match=message):
        check_overlap(config(tmp_path, *OVERLAPPED, *settings))
    check_overlap(config(tmp_path, *SERIAL, *settings))
