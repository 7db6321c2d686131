"""Whole trainings that are timed: what is compared does the same."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import model_zoo, register_multitask_coco
from rock_d2.benchmarks.loop import Clock, PlainTrainer, ReliableTrainer, new_training, sharing
from rock_d2.data import build_train_loader

NAME = "rooms_to_time"
SETTINGS = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE", [48, 64], "DATASETS.TRAIN", (NAME,), "SEED", 1),
    *("DATASETS.TEST", (), "SOLVER.MAX_ITER", 4, "SOLVER.AMP.ENABLED", False),
    *("MODEL_EMA.ENABLED", False),
)


@pytest.fixture
def _rooms(rooms_root):
    known = MetadataCatalog.get("rooms_val")
    register_multitask_coco(
        NAME,
        str(rooms_root / "rooms/annotations/rooms_val.json"),
        str(rooms_root / "rooms"),
        thing_classes=known.thing_classes,
        scene_classes=known.scene_classes,
        depth_range=known.depth_range,
    )
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.mark.usefixtures("_rooms")
def test_both_trainers_learn_the_same():
    cfg = model_zoo.get_config("quick_schedules/rock_rooms_quick.yaml")
    cfg.merge_from_list(list(SETTINGS))
    loader = build_train_loader(cfg)
    weights = []
    for trainer_class in (PlainTrainer, ReliableTrainer):
        torch.manual_seed(0)
        with new_training(sharing(trainer_class, loader), cfg) as trainer:
            trainer.train()
        weights.append(trainer.model.state_dict())
    torch.testing.assert_close(*weights)


def test_clock_sets_checkpoints_and_the_first_iterations_apart(monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(DetectionCheckpointer, "save", lambda *_: now.__setitem__(0, now[0] + 50))
    checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), tmp_path)
    clock = Clock(checkpointer, "cpu")
    clock.trainer = type("Trainer", (), {"iter": 0, "max_iter": 5})
    for clock.trainer.iter, seconds in enumerate([9, 9, 1, 2, 6]):
        now[0] += seconds
        if clock.trainer.iter == 3:
            checkpointer.save("model")
        clock.after_step()
    assert clock.seconds() == (3, 50)
