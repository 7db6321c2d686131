"""A training resumes from its own checkpoints, and from no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from torch import nn

from rock_d2 import add_rock_config
from rock_d2.checkpoint.identity import identity
from rock_d2.checkpoint.training import TrainingCheckpointer, load_optimizer


class Trainer:
    """The smallest training with a state."""

    def __init__(self) -> None:
        self.iteration, self.step = 0, torch.zeros(2)

    def process_state(self) -> dict[str, Any]:
        return {"random": self.iteration}

    def state_dict(self) -> dict[str, Any]:
        return {"iteration": self.iteration, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.iteration = state["iteration"]
        if "step" in state:
            self.step.copy_(state["step"])


class Average:
    def __init__(self, model: nn.Module):
        self.model = model

    @contextmanager
    def applied(self) -> Iterator[None]:
        with torch.no_grad():
            self.model.backbone.weight += 1
            yield
            self.model.backbone.weight -= 1


def checkpointer(
    folder: Path, *settings: object, images: int = 4, averaged: bool = False
) -> TrainingCheckpointer:
    """Return that of a training on ``images`` images."""
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["OUTPUT_DIR", str(folder), "SEED", 1, *settings])
    model = nn.ModuleDict({"backbone": nn.Linear(2, 3), "neck": nn.Linear(2, 2)})
    this = identity(cfg, num_images=images)
    average = Average(model) if averaged else None
    return TrainingCheckpointer(cfg, model, identity=this, average=average, trainer=Trainer())


def saved(folder: Path, iteration: int = 5, **options: Any) -> TrainingCheckpointer:
    """Return what has saved a checkpoint of that iteration."""
    found = checkpointer(folder, **options)
    trainer = found.checkpointables["trainer"]
    trainer.iteration, trainer.step = iteration, torch.tensor([1.0, 2.0])
    found.save(f"model_{iteration:07d}")
    return found


@pytest.mark.parametrize("averaged", [False, True])
def test_resumed_training_has_the_state_of_the_saved_one(averaged, tmp_path):
    first = saved(tmp_path, averaged=averaged)
    second = checkpointer(tmp_path)
    assert second.resume_from(second.find_last()) == {"random": 5}
    trainer = second.checkpointables["trainer"]
    assert (trainer.iteration, trainer.step.tolist()) == (5, [1, 2])
    # The averaged weights are the model; the learned ones are the training's own affair.
    expected = first.model.backbone.weight + averaged
    assert torch.equal(second.model.backbone.weight, expected)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (("SEED", 2), {}, "SEED was 1 and is 2"),
        (("INPUT.FORMAT", "RGB"), {}, "set INPUT.FORMAT"),
        (("DATASETS.BOXED_FRACTION", 0.5), {}, "BOXED_FRACTION was 1.0 and is 0.5"),
        (("DATALOADER.BOXED_SHARE", 0.5), {}, "BOXED_SHARE was 0.0 and is 0.5"),
        (("SOLVER.BASE_LR", 0.5), {}, "BASE_LR was .* and is 0.5"),
        (("SOLVER.WEIGHT_DECAY_NORM", 0.5), {}, "WEIGHT_DECAY_NORM was .* and is 0.5"),
        ((), {"images": 3}, "training images was 4 and is 3"),
    ],
)
def test_another_training_is_not_resumed(settings, options, message, tmp_path):
    saved(tmp_path)
    other = checkpointer(tmp_path, *settings, **options)
    with pytest.raises(ValueError, match=rf"5\.pth.*{message}"):
        other.resume_from(other.find_last())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": None}, "holds weights, but no training"),
        ({"model": {}}, "belong to no known layout"),
        ({"model": {"backbone.weight": torch.zeros(3)}}, "fits 0 of 2"),
        ({"identity": {"SEED": "3"}}, "is of another training"),
    ],
)
def test_forged_checkpoint_is_one_line(changes, message, tmp_path):
    saved(tmp_path)
    file = tmp_path / "model_0000005.pth"
    torch.save(torch.load(file) | changes, file)
    other = checkpointer(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        other.resume_from(file)
    assert "\n" not in str(caught.value)


def test_optimizer_takes_values_like_its_parameters_only():
    parameter = nn.Parameter(torch.ones(3, 2, 1, 1))
    optimizer = torch.optim.Adam([parameter], fused=True)
    parameter.sum().backward()
    optimizer.step()
    stored = optimizer.state_dict()
    # A fused step would take another memory format's numbers in the wrong order.
    value = torch.arange(6.0).view(2, 3, 1, 1).transpose(0, 1)
    stored["state"][0] = stored["state"][0] | {"exp_avg_sq": value}
    load_optimizer(optimizer, stored)
    found = optimizer.state[parameter]["exp_avg_sq"]
    assert torch.equal(found, value) and found.stride() == parameter.stride()
    stored["state"][0] = stored["state"][0] | {"exp_avg": torch.zeros(5)}
    with pytest.raises(ValueError, match=r"an exp_avg is \[5\], its parameter \[3, 2, 1, 1\]"):
        load_optimizer(optimizer, stored)
