"""Steps that are not finite: they end the training or pass without a trace."""

import math

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from rock_d2.engine.ending import Diverged
from rock_d2.engine.step import TrainingStep

NAN = math.nan


class Line(nn.Module):
    """Two losses of a normalised product; the second has an infinite slope where it is 0."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.weight = nn.Parameter(torch.tensor([0.5]))

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        x = self.norm(torch.tensor([[item["x"]] for item in batch]))
        distance = torch.tensor([item.get("distance", 1.0) for item in batch])
        return {
            "loss_cls": (self.weight * x - 1).square().mean(),
            "loss_box_reg": (self.weight.square() * distance).sqrt().mean(),
        }


def batch(*values: float, **others: float) -> list[dict]:
    return [{"x": x, "file_name": f"{i}_{x}.png", **others} for i, x in enumerate(values)]


GOOD = [batch(1.0, 2.0), batch(-1.0, 3.0), batch(0.5, 0.0), batch(2.0, 7.0)]
# The loss and with it the gradient; the gradient alone, since sqrt(0)' is infinite.
BAD = {"loss": batch(1.0, NAN), "gradient": batch(1.0, 5.0, distance=0.0)}
OPTIMIZERS = {
    "plain": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    # As on a GPU: asked on the device whether to step.
    "fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}


def new_step(batches: list, optimizer: str = "plain", **options) -> TrainingStep:
    model = Line()
    return TrainingStep(model, batches, OPTIMIZERS[optimizer](model.parameters()), **options)


def state(step: TrainingStep) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in step.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("what", BAD)
def test_bad_step_ends_the_training_and_changes_no_weight(what, optimizer):
    step = new_step([GOOD[0], BAD[what]], optimizer)
    step.run()
    before = step.model.weight.item()
    with pytest.raises(Diverged, match=f"iteration 1: .*{what} is not finite") as found:
        step.run()
    assert step.model.weight.item() == before
    for name in ("loss_cls", "loss_box_reg", *(item["file_name"] for item in BAD[what])):
        assert name in str(found.value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("what", BAD)
def test_skipped_steps_leave_no_trace(what, optimizer):
    expected = new_step(GOOD, optimizer)
    bad = BAD[what]
    step = new_step([*GOOD[:2], bad, *GOOD[2:], bad, bad], optimizer, max_skipped_steps=2)
    for _ in GOOD:
        expected.run()
    for _ in range(6):
        step.run()
    found = state(step)
    for name, value in state(expected).items():
        assert torch.equal(found[name], value), name
    assert step.read_losses()[0] == expected.read_losses()[0]
    assert step.guard.num_skipped == 2
    with pytest.raises(Diverged, match=r"iteration 6: .* \(2 were allowed\)"):
        step.run()


def test_what_is_frozen_is_not_copied_before_each_step():
    model = Line()
    model.frozen = FrozenBatchNorm2d(1)
    step = TrainingStep(model, [], OPTIMIZERS["plain"](model.parameters()))
    # Mean, variance and number of batches.
    assert {id(x) for x, _ in step._copy_of_statistics()} == {id(x) for x in model.norm.buffers()}
    assert len(step._copy_of_statistics()) == 3


def test_bad_part_of_a_batch_is_noticed():
    step = new_step([batch(1.0, 2.0, NAN, 4.0)], accumulate=2)
    with pytest.raises(Diverged, match="loss is not finite"):
        step.run()


def test_fp16_leaves_infinite_gradients_to_the_scaler_and_stops_at_infinite_losses():
    step = new_step([*GOOD, BAD["gradient"], BAD["loss"]], precision=torch.float16)
    for _ in GOOD:
        step.run()
    scale, weight = step.scaler.get_scale(), step.model.weight.item()
    step.run()
    assert (step.scaler.get_scale(), step.model.weight.item()) == (scale / 2, weight)
    with pytest.raises(Diverged, match="iteration 5"):
        step.run()


def test_count_of_skipped_steps_survives_an_interruption():
    step = new_step([BAD["loss"]], max_skipped_steps=1)
    step.run()
    resumed = new_step([BAD["loss"]], max_skipped_steps=1)
    resumed.load_state_dict(step.state_dict())
    with pytest.raises(Diverged, match="1 were allowed"):
        resumed.run()
