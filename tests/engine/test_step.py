"""One training step: accumulation, precision, balanced losses, and steps that are not finite."""

import math

import pytest
import torch
from torch import nn
from toy import Line, Slope, batch, new_step

from rock_d2.data.loader import SKIPPED
from rock_d2.engine.step import TrainingStep
from rock_d2.modeling.balancing import UncertaintyWeights

NAN = math.nan


def slopes(*values: float) -> list[dict[str, float]]:
    return [{"slope": value} for value in values]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_a_step_is_gradient_descent_on_the_whole_batch(accumulate):
    # Means over equal counts: (1 + 2 + 3 + 6) / 4 = 3.
    step = new_step(Slope(), [slopes(1.0, 2.0, 3.0, 6.0)] * 2, accumulate=accumulate)
    step.run_step()
    assert step.model.weight.item() == -3.0
    step.run_step()
    # The losses are 0 and -3 · 3.
    assert step.read_losses()[0] == {"loss": -4.5}


class Dark(nn.Module):
    """A loss that is 4 for any weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: list) -> dict[str, torch.Tensor]:
        return {"loss_dark": self.weight.sum() * 0 + 4.0}


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": torch.float16}])
def test_a_balancers_parameters_learn_and_are_stored(options):
    balancer = UncertaintyWeights(task_losses=["loss_dark"])
    step = new_step(Dark(), [[{}, {}]], balancer=balancer, **options)
    step.run_step()
    # d/ds (exp(-s) · 4 + s) = -3 at s = 0; the detector has no loss.
    assert balancer.log_variances.tolist() == [3.0, 0.0]
    resumed = new_step(Dark(), [], balancer=UncertaintyWeights(task_losses=["loss_dark"]))
    resumed.load_state_dict(step.state_dict())
    assert resumed.balancer.log_variances.tolist() == [3.0, 0.0]


GOOD = [batch(1.0, 2.0), batch(-1.0, 3.0), batch(0.5, 0.0), batch(2.0, 7.0)]
# The loss and with it the gradient; the gradient alone, since sqrt(0)' is infinite.
BAD = {"loss": batch(1.0, NAN), "gradient": batch(1.0, 5.0, distance=0.0)}
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}


def line_step(batches: list, optimizer: str = "SGD", **options) -> TrainingStep:
    model = Line()
    return new_step(model, batches, OPTIMIZERS[optimizer](model.parameters()), **options)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("what", BAD)
def test_bad_step_ends_the_training_and_changes_no_weight(what, accumulate):
    step = line_step([GOOD[0] * 2, BAD[what] * 2], accumulate=accumulate)
    step.run_step()
    step.iter, before = 1, step.model.weight.item()
    with pytest.raises(FloatingPointError, match=f"iteration 1: .*{what} is not finite") as found:
        step.run_step()
    assert step.model.weight.item() == before
    for name in ("loss_cls", "loss_box_reg", *(item["file_name"] for item in BAD[what])):
        assert name in str(found.value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("what", BAD)
def test_skipped_steps_leave_no_trace(what, optimizer):
    expected = line_step(GOOD, optimizer)
    bad = BAD[what]
    step = line_step([bad, *GOOD[:2], bad, *GOOD[2:], bad], optimizer, max_skipped_steps=2)
    for _ in GOOD:
        expected.run_step()
    for _ in range(6):
        step.run_step()
    found = step.model.state_dict()
    for name, value in expected.model.state_dict().items():
        assert torch.equal(found[name], value), name
    assert step.read_losses()[0] == expected.read_losses()[0]
    resumed = line_step([bad], optimizer, max_skipped_steps=2)
    resumed.load_state_dict(step.state_dict())
    for one in (step, resumed):
        with pytest.raises(FloatingPointError, match=r"SKIP_NONFINITE is 2"):
            one.run_step()


def test_fp16_leaves_infinite_gradients_to_the_scaler_and_stops_at_infinite_losses():
    step = line_step([*GOOD, BAD["gradient"], BAD["loss"]], precision=torch.float16)
    for _ in GOOD:
        step.run_step()
    scale, weight = step.scaler.get_scale(), step.model.weight.item()
    step.run_step()
    assert (step.scaler.get_scale(), step.model.weight.item()) == (scale / 2, weight)
    with pytest.raises(FloatingPointError):
        step.run_step()


def test_each_unreadable_image_counts_once():
    items = [{"slope": 1.0, SKIPPED: {name: f"{name}: is no image"}} for name in "aabc"]
    step = new_step(Slope(), [[item] for item in items], max_skipped_images=2)
    for _ in "aab":
        step.run_step()
    with pytest.raises(OSError, match=r"3 images .*MAX_UNREADABLE is 2; the last: c: is no"):
        step.run_step()
