"""Training and evaluation through the command line, and by a script of one's own."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from rock_d2.engine import main

CONFIG = ("--config-file", "configs/quick_schedules/rock_rooms_quick.yaml")
SEED, BATCH_SIZE = 1, 4
TINY = (
    *("SEED", SEED, "INPUT.SIZE", "[96, 128]", "SOLVER.IMS_PER_BATCH", BATCH_SIZE),
    *("SOLVER.MAX_ITER", 4, "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", 3),
    *("SOLVER.BASE_LR", 1e-3, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
    *("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.LOG_PERIOD", 1),
    *("TEST.EVAL_PERIOD", 2, "TEST.NUM_PICTURES", 2, "MODEL_EMA.ENABLED", True),
)
LOSSES = ("loss_cls", "loss_box_reg", "loss_scene", "loss_depth", "loss_normals")


def train_net(*arguments: object) -> None:
    main(list(map(str, [*CONFIG, *arguments])))


def error_of(*arguments: object) -> str:
    """Return the line that a command ends with."""
    with pytest.raises(SystemExit) as end:
        train_net(*arguments)
    assert "\n" not in end.value.code
    return end.value.code


@pytest.fixture(autouse=True)
def _rooms(rooms_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))


@pytest.fixture(scope="module")
def trained(rooms_root, tmp_path_factory) -> Path:
    """The folder of four iterations, evaluated after two and after all."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(rooms_root))
        train_net(*TINY, "OUTPUT_DIR", folder)
    return folder


def test_every_iteration_and_every_evaluation_is_recorded(trained):
    lines = [json.loads(line) for line in (trained / "metrics.json").read_text().splitlines()]
    steps = [line for line in lines if "total_loss" in line]
    assert [step["iteration"] for step in steps] == [0, 1, 2, 3]
    for step in steps:
        assert step.keys() >= {*LOSSES, "lr", "images_per_second", "memory_gb", "eta_seconds"}
        assert sum(step[name] for name in LOSSES) == pytest.approx(step["total_loss"])
    # Warm-up from a thousandth to all of 1e-3, evenly over three iterations.
    assert [step["lr"] for step in steps] == pytest.approx([1e-6, 3.34e-4, 6.67e-4, 1e-3])
    evaluations = [line for line in lines if "bbox/AP50" in line]
    assert [line["iteration"] for line in evaluations] == [1, 4]
    results = json.loads((trained / "results.json").read_text())
    assert re.fullmatch(r"rooms on \d+ images", results.pop("protocol"))
    assert results.pop("main") == ["bbox"]
    assert results.keys() == {"bbox", "scene", "depth", "normals"}
    for task, metrics in results.items():
        for name, value in metrics.items():
            recorded = evaluations[-1][f"{task}/{name}"]
            assert recorded == value or (value is None and math.isnan(recorded))


def test_evaluation_of_the_stored_model_gives_the_trainings_last_results(trained, tmp_path):
    options = ("MODEL.WEIGHTS", trained / "model_final.pth", "OUTPUT_DIR", tmp_path)
    train_net("--eval-only", *TINY, *options)
    found, expected = (
        json.loads((folder / "results.json").read_text()) for folder in (tmp_path, trained)
    )
    assert found == expected
    assert "MODEL.WEIGHTS is empty" in error_of("--eval-only", *TINY, "OUTPUT_DIR", tmp_path)
    nowhere = ("OUTPUT_DIR", tmp_path / "nowhere")
    assert "has no checkpoint" in error_of("--eval-only", "--resume", *TINY, *nowhere)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SOLVER.OPTIMIZER", "Adamax"), "SOLVER.OPTIMIZER is 'Adamax'"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "nowhere.pth"),
        (("DATASETS.TRAIN", "('room_train',)"), "DATASETS.TRAIN: 'room_train' is not registered"),
        (("MODEL.DEVICE", "cuda:99"), "MODEL.DEVICE is 'cuda:99'"),
        (("SOLVER.COMPILE", "fast"), "SOLVER.COMPILE is 'fast'"),
        (("TEST.COCO_BACKEND", "cocoapi"), "TEST.COCO_BACKEND is 'cocoapi'"),
        (("DATASETS.TEST", "('rooms_plain_val',)"), "data set `rooms_plain_val` is not there"),
    ],
)
def test_impossible_settings_end_with_one_line(arguments, message, tmp_path):
    assert message in error_of(*TINY, "OUTPUT_DIR", tmp_path, *arguments)


def test_divergence_keeps_a_whole_checkpoint(tmp_path):
    fast = ("SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_ITERS", 0, "SOLVER.CHECKPOINT_PERIOD", 1)
    line = error_of(*TINY, *fast, "DATASETS.TEST", "()", "OUTPUT_DIR", tmp_path)
    assert "iteration 1: a loss is not finite" in line
    checkpoint = torch.load(tmp_path / "model_0000000.pth", weights_only=True)
    assert checkpoint["trainer"]["iteration"] == 0
    assert all(value.isfinite().all() for value in checkpoint["model"].values())
