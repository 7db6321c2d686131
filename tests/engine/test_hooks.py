"""Best model and early stopping, in Detectron2's own training loop."""

import weakref
from pathlib import Path

import pytest
import torch
from detectron2.engine import hooks
from detectron2.engine.train_loop import TrainerBase
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from rock_d2.engine.ending import TrainingStopped
from rock_d2.engine.hooks import BestModel

METRIC = "bbox/AP50"


class Scripted(TrainerBase):
    """Each iteration adds 1 to the only weight; each evaluation gives the next score."""

    def __init__(self, scores: list[float], folder: Path, **options):
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)
        self.model.weight.data.zero_()
        self.scores = iter(scores)
        self.results: dict[str, float] = {}
        self.best = BestModel(
            Checkpointer(self.model, str(folder), trainer=weakref.proxy(self)),
            period=2,
            **{"metric": METRIC, "mode": "max", "patience": 0} | options,
        )
        self.register_hooks([hooks.EvalHook(2, self.evaluate), self.best])

    def evaluate(self) -> dict[str, float]:
        self.results = {METRIC: next(self.scores)}
        return self.results

    def run_step(self) -> None:
        self.model.weight.data += 1


def best_weight(folder: Path) -> float:
    return torch.load(folder / "model_best.pth")["model"]["weight"].item()


def test_best_model_is_that_of_the_best_score(tmp_path):
    trainer = Scripted([10.0, 30.0, float("nan"), 30.0], tmp_path)
    trainer.train(0, 8)
    assert (trainer.best.best, trainer.best.best_iteration) == (30.0, 4)
    assert best_weight(tmp_path) == 4.0


def test_last_evaluation_can_be_the_best(tmp_path):
    trainer = Scripted([10.0, 20.0], tmp_path)
    trainer.train(0, 4)
    assert best_weight(tmp_path) == 4.0


def test_least_can_be_best(tmp_path):
    trainer = Scripted([3.0, 1.0, 2.0], tmp_path, mode="min")
    trainer.train(0, 6)
    assert (trainer.best.best, best_weight(tmp_path)) == (1.0, 4.0)


def test_training_stops_after_patience_evaluations_without_a_better_one(tmp_path):
    trainer = Scripted([1.0, 3.0, 2.0, 3.0, 9.0], tmp_path, patience=2)
    with pytest.raises(TrainingStopped, match=r"bbox/AP50 has not been better than 3.0 for 2"):
        trainer.train(0, 10)
    assert trainer.iter + 1 == 8
    assert best_weight(tmp_path) == 4.0


def test_resumed_training_remembers_the_best(tmp_path):
    first = Scripted([1.0, 30.0], tmp_path)
    first.train(0, 4)
    second = Scripted([20.0], tmp_path / "second")
    second.load_state_dict(first.state_dict())
    second.train(4, 6)
    assert second.best.best == 30.0
    assert not (tmp_path / "second" / "model_best.pth").exists()


def test_unknown_metric_names_the_known_ones(tmp_path):
    trainer = Scripted([1.0], tmp_path, metric="bbox/AP5")
    with pytest.raises(ValueError, match="'bbox/AP5' is not measured; there are bbox/AP50"):
        trainer.train(0, 2)


def test_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"TEST.BEST_MODE: 'best' is none of max, min"):
        Scripted([], tmp_path, mode="best")
