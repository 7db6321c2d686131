"""One training step: accumulation, precision, balanced losses, and steps that are not finite."""

import math

import pytest
import torch
from toy import Line, Slope, batch, new_step

from rock_d2.engine.step import TrainingStep

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


def test_fp16_leaves_infinite_gradients_to_the_scaler_and_stops_at_infinite_losses():
    step = line_step([*GOOD, BAD["gradient"], BAD["loss"]], precision=torch.float16)
    for _ in GOOD:
        step.run_step()
    scale, weight = step.scaler.get_scale(), step.model.weight.item()
    step.run_step()
    assert (step.scaler.get_scale(), step.model.weight.item()) == (scale / 2, weight)
    with pytest.raises(FloatingPointError):
        step.run_step()


def test_fp16_stops_where_no_scale_makes_the_gradient_finite():
    step = line_step([BAD["gradient"]] * 31, precision=torch.float16)
    # It starts at 2 ** 16, and ends below 2 ** -14.
    for _ in range(30):
        step.run_step()
    with pytest.raises(FloatingPointError, match="the gradient is not finite"):
        step.run_step()
