"""Gradients of the tasks on the backbone, measured without the training noticing."""

import math

import pytest
import torch
from detectron2.engine import HookBase, TrainerBase
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn
from toy import new_step

from rock_d2 import build_train_loader
from rock_d2.engine.gradient_conflict import (
    GradientConflict,
    conflict,
    gradients_on_backbone,
    unnoticed,
)
from rock_d2.modeling.balancing import DETECTOR

SIZE = (64, 64)
STEPS = 3


def random_item(record: dict) -> dict:
    """A mapper that draws what it makes from the position's random numbers."""
    instances = Instances(SIZE)
    corners = torch.rand(3, 2) * 20
    instances.gt_boxes = Boxes(torch.cat([corners, corners + 20], dim=1))
    instances.gt_classes = torch.randint(19, (3,))
    return {
        "image": torch.randint(256, (3, *SIZE), dtype=torch.uint8),
        "instances": instances,
        "scene": int(torch.randint(27, ())),
        "depth": 1 + torch.rand(1, *SIZE),
        "normals": torch.nn.functional.normalize(torch.randn(3, *SIZE), dim=0),
    }


class Drawing(HookBase):
    """Something that draws random numbers between the steps."""

    def after_step(self) -> None:
        self.trainer.drawn.append(float(torch.rand(())))


class Trainer(TrainerBase):
    """Detectron2's loop around this project's step, model and loader."""

    def __init__(self, cfg, period: int | None):
        super().__init__()
        torch.manual_seed(0)
        self.model = build_model(cfg).train()
        self.data_loader = build_train_loader(
            [{}] * 5, mapper=random_item, total_batch_size=2, seed=4, num_workers=0
        )
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.step = new_step(self.model, self.data_loader, optimizer)
        self.drawn: list[float] = []
        self.scalars: list[dict[str, float]] = []
        self.register_hooks(
            [Drawing(), *([GradientConflict(period)] if period is not None else [])]
        )

    def run_step(self) -> None:
        self.step.run_step()
        self.scalars.append({name: value for name, (value, _) in self.storage.latest().items()})


@pytest.fixture
def trained(small_config):
    def train(period: int | None = None, *settings: object) -> Trainer:
        settings = ("INPUT.SIZE", list(SIZE), "MODEL.SSD.EXTRA_CHANNELS", [64], *settings)
        trainer = Trainer(small_config(*settings), period)
        trainer.train(0, STEPS)
        return trainer

    return train


def test_the_training_is_the_same_with_and_without(trained):
    without, measured = trained(), trained(1)
    expected, found = without.model.state_dict(), measured.model.state_dict()
    assert any("running_mean" in name for name in expected)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert measured.drawn == without.drawn
    # Four norms, three cosines, and what it costs.
    assert len(measured.scalars[0]) == 4 + 3 + 1 and not without.scalars[0]


def test_what_fails_leaves_the_statistics_as_they_were():
    norm = nn.BatchNorm1d(1)
    norm.device = torch.device("cpu")
    # It counts the batch before it refuses it.
    with pytest.raises(ValueError, match="more than 1 value per channel"), unnoticed(norm):
        norm(torch.ones(1, 1))
    assert norm.num_batches_tracked == 0


def test_it_measures_the_batch_that_is_learnt_next(trained, small_config):
    trainer = trained(2)
    norms = trainer.storage.history("gradient_norm/depth").values()
    assert [iteration for _, iteration in norms] == [0, 2]
    # By hand: the weights that training starts with, and the loader's first batch.
    fresh = Trainer(small_config("INPUT.SIZE", list(SIZE), "MODEL.SSD.EXTRA_CHANNELS", [64]), None)
    gradients = gradients_on_backbone(fresh.model, next(iter(fresh.data_loader)))
    assert norms[0][0] == pytest.approx(float(gradients["depth"].norm()))


def test_parts_sum_to_the_gradient_of_the_step(trained):
    model = trained().model
    batch = [random_item({}) for _ in range(2)]
    parts = gradients_on_backbone(model, batch)
    assert parts.keys() == {DETECTOR, "scene", "depth", "normals"}
    model.zero_grad()
    sum(model(batch).values()).backward()
    whole = torch.cat([p.grad.flatten() for p in model.backbone.parameters()])
    torch.testing.assert_close(sum(parts.values()), whole, rtol=1e-3, atol=1e-4)


def test_angles_of_known_vectors():
    found = conflict(
        {
            DETECTOR: torch.tensor([3.0, 4.0]),
            "along": torch.tensor([6.0, 8.0]),
            "across": torch.tensor([-4.0, 3.0]),
            "against": torch.tensor([-3.0, 0.0]),
            "silent": torch.zeros(2),
        }
    )
    assert found == pytest.approx(
        {
            "gradient_norm/detector": 5.0,
            "gradient_norm/along": 10.0,
            "gradient_norm/across": 5.0,
            "gradient_norm/against": 3.0,
            "gradient_norm/silent": 0.0,
            "gradient_cosine/along": 1.0,
            "gradient_cosine/across": 0.0,
            "gradient_cosine/against": -0.6,
        }
    )


def test_a_task_without_weight_pulls_nowhere(trained):
    scalars = trained(1, "MODEL.TASKS.DEPTH.LOSS_WEIGHT", 0.0).scalars[0]
    assert scalars["gradient_norm/depth"] == 0 and "gradient_cosine/depth" not in scalars
    assert scalars["gradient_norm/detector"] > 0
    assert math.isfinite(scalars["gradient_cosine/scene"])
