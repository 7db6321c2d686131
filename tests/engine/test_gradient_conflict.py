"""Gradients of the tasks on the backbone, measured without a change of the training."""

from pathlib import Path

import pytest
import torch
from trainings import differences, metrics, new_trainer, stored

from rock_d2.engine.gradient_conflict import conflict, gradients_on_backbone
from rock_d2.modeling.balancing import DETECTOR

TASKS = ["scene", "depth", "normals"]
SHORT = ("SOLVER.MAX_ITER", 3, "SOLVER.LOG_PERIOD", 1, "SOLVER.CHECKPOINT_PERIOD", 9)
MEASURED = (*SHORT, "SOLVER.GRADIENT_CONFLICT_PERIOD", 2)


@pytest.fixture
def trained(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))

    def train(name: str, *settings: object) -> Path:
        new_trainer(tmp_path / name, *settings).train()
        return tmp_path / name

    return train


def test_the_training_is_the_same_with_and_without(trained):
    without, measured = trained("without", *SHORT), trained("measured", *MEASURED)
    assert any("running_mean" in name for name in stored(measured)["model"])
    assert differences(without, measured) == []
    lines = [{k for k in line if k.startswith("gradient_")} for line in metrics(measured)]
    # Four norms and three cosines.
    assert [len(line) for line in lines] == [7, 0, 7]


@pytest.mark.usefixtures("trained")
def test_parts_sum_to_the_gradient_of_the_step(tmp_path):
    trainer = new_trainer(tmp_path / "fresh", *SHORT)
    model, batch = trainer.model.train(), next(iter(trainer.data_loader))
    parts = gradients_on_backbone(model, batch)
    assert parts.keys() == {DETECTOR, *TASKS}
    assert all(parameter.grad is None for parameter in model.parameters())
    sum(model(batch).values()).backward()
    whole = torch.cat([p.grad.flatten() for p in model.backbone.parameters()])
    torch.testing.assert_close(sum(parts.values()), whole, rtol=1e-3, atol=1e-4)


def test_cosines_are_with_the_other_main_gradients():
    gradients = {"depth": torch.tensor([3.0, 0.0]), "sem_seg": torch.tensor([0.0, 4.0])}
    gradients["edges"] = torch.tensor([1.0, 0.0])
    found = conflict(gradients, [DETECTOR, "depth", "sem_seg"])
    cosines = {key: value for key, value in found.items() if "cosine" in key}
    # Of the main two with each other, and of (1, 0) with (3, 4).
    expected = {"depth": 0.0, "sem_seg": 0.0, "edges": 0.6}
    assert cosines == pytest.approx({f"gradient_cosine/{k}": v for k, v in expected.items()})
    assert found["gradient_norm/sem_seg"] == 4
