"""Evaluations and the best model, in a loop."""

import weakref
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils.events import EventStorage
from fvcore.common.checkpoint import Checkpointer
from toy import Slope

from rock_d2.engine.hooks import Checkpoints, Evaluations

METRIC = "bbox/AP50"


class Loop(TrainerBase):
    """RockTrainer's loop and nothing else."""

    def __init__(self, num_iterations: int, *hooks: HookBase):
        super().__init__()
        self.max_iter = num_iterations
        self.register_hooks(list(hooks))

    def train(self) -> None:
        with EventStorage(self.iter) as self.storage:
            while self.iter < self.max_iter:
                self.storage.iter = self.iter
                self.run_step()
                self.after_step()
                self.iter += 1
            self.after_train()

    def run_step(self) -> None:
        pass


class Scripted(Loop):
    """Each iteration adds 1 to the only weight; each evaluation gives the next score."""

    def __init__(self, scores: list[float], folder: Path, *, num_iterations: int, **options):
        self.model = Slope()
        self.scores = iter(scores)
        folder.mkdir(exist_ok=True)
        self.files = Checkpointer(self.model, str(folder), trainer=weakref.proxy(self))
        options = {"period": 2, "metric": METRIC} | options
        self.best = Evaluations(self.evaluate, self.files, **options)
        super().__init__(num_iterations, self.best, Checkpoints(self.files, 100))

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {"bbox": {"AP50": next(self.scores)}}

    def run_step(self) -> None:
        self.model.weight.data += 1


def weight(folder: Path, name: str = "model_best") -> float:
    return torch.load(folder / f"{name}.pth")["model"]["weight"].item()


@pytest.mark.parametrize(
    ("scores", "num_iterations", "mode", "best"),
    [
        ([10.0, 30.0, float("nan"), 30.0], 8, "max", (30.0, 4)),
        # After 2, and after 3 since that is the end.
        ([10.0, 20.0], 3, "max", (20.0, 3)),
        ([3.0, 1.0, 2.0], 6, "min", (1.0, 4)),
    ],
)
def test_best_model_is_that_of_the_best_score(scores, num_iterations, mode, best, tmp_path):
    trainer = Scripted(scores, tmp_path, num_iterations=num_iterations, mode=mode)
    trainer.train()
    assert (trainer.best.best, trainer.best.best_iteration) == best
    assert (weight(tmp_path), weight(tmp_path, "model_final")) == (best[1], num_iterations)


def test_what_a_failed_evaluation_follows_is_saved(tmp_path):
    loop = Scripted([10.0], tmp_path, num_iterations=6, checkpoint_period=4)
    with pytest.raises(StopIteration):
        loop.train()
    assert weight(tmp_path, "model_0000003") == 4


def test_a_best_score_of_another_metric_is_not_compared(tmp_path):
    first = Scripted([53.0], tmp_path, num_iterations=1)
    first.train()
    for options, best in (({}, 53), ({"metric": "depth/delta1"}, None), ({"mode": "min"}, None)):
        other = Scripted([], tmp_path, num_iterations=1, **options).best
        other.load_state_dict(first.best.state_dict())
        assert other.best == best
