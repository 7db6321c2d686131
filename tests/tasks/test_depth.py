"""Depth: reverse Huber in log space, by hand and by law."""

import math

import pytest
import torch

from rock_d2.tasks import Depth
from rock_d2.tasks.depth import berhu_loss


def berhu(*errors: float, fraction: float = 0.2) -> float:
    error = torch.tensor(errors, dtype=torch.float64)
    return float(berhu_loss(error, torch.ones_like(error, dtype=torch.bool), fraction=fraction))


def test_berhu_by_hand():
    # The largest error is 5, so c = 1: |-0.5|, |1| and (25 + 1) / 2 = 13.
    assert berhu(-0.5, 1.0, 5.0) == pytest.approx((0.5 + 1 + 13) / 3)
    assert berhu(-5.0) == pytest.approx(13)
    assert berhu(1.0, 5.0, fraction=1.0) == pytest.approx((1 + 5) / 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_berhu_and_its_derivative_are_continuous_at_the_threshold(sign):
    def value_and_slope(size: float) -> tuple[float, float]:
        error = torch.tensor([sign * size, 5.0], dtype=torch.float64, requires_grad=True)
        loss = 2 * berhu_loss(error, torch.ones(2, dtype=torch.bool), fraction=0.2)
        (slope,) = torch.autograd.grad(loss, error)
        return float(loss.detach()) - 13, float(slope[0])

    below, above = value_and_slope(1 - 1e-6), value_and_slope(1 + 1e-6)
    assert above[0] == pytest.approx(below[0], abs=1e-5)
    assert below == pytest.approx((1, sign), abs=1e-5)
    assert above == pytest.approx((1, sign), abs=1e-5)
    assert value_and_slope(2)[1] == pytest.approx(2 * sign)


def test_gradient_in_double_precision():
    # The threshold is a constant of the gradient; the fixed largest error keeps it one here too.
    torch.manual_seed(0)
    error = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    known = torch.rand(2, 1, 4, 4) > 0.3
    known[:, :, 0] = True

    def loss(x: torch.Tensor) -> torch.Tensor:
        largest = torch.full((2, 1, 1, 4), 10.0, dtype=x.dtype)
        return berhu_loss(torch.cat([largest, x], dim=2) * known, known, fraction=0.2)

    assert torch.autograd.gradcheck(loss, error)


def test_loss_by_hand():
    # One cell of 4 x 6 pixels; those known are 2 m and 6 m, so the target is ln 4. A single error
    # e has c = e / 5 and the loss (e^2 + c^2) / 2c = 2.6 e.
    target = torch.zeros(1, 1, 4, 6)
    target[0, 0, 0, 0], target[0, 0, 3, 5] = 2, 6
    prediction = torch.full((1, 1, 1, 1), math.log(4) - 0.5)
    assert float(Depth().loss(prediction, target)) == pytest.approx(2.6 * 0.5)
    perfect = torch.full((1, 1, 1, 1), math.log(4))
    assert float(Depth().loss(perfect, target)) == pytest.approx(0, abs=1e-6)


def test_near_targets_count_as_the_smallest_depth():
    prediction = torch.full((1, 1, 1, 1), math.log(0.5))
    target = torch.full((1, 1, 2, 2), 1e-9)
    assert float(Depth(min_depth=0.5).loss(prediction, target)) == pytest.approx(0, abs=1e-6)


def test_predictions_where_nothing_is_known_do_not_matter():
    prediction = torch.full((2, 1, 2, 3), torch.inf, requires_grad=True)
    loss = Depth().loss(prediction, torch.zeros(2, 1, 4, 6))
    assert loss == 0
    assert (torch.autograd.grad(loss, prediction)[0] == 0).all()


def test_prediction_in_metres():
    prediction = torch.tensor([[[0.0, math.log(4)]]])
    assert Depth().postprocess(prediction, (1, 2)).flatten().tolist() == pytest.approx([1, 4])
    # Halfway between the cells, in log space: the geometric mean.
    wide = Depth().postprocess(prediction, (2, 3))
    assert wide.shape == (1, 2, 3) and wide[0, 0, 1] == pytest.approx(2)
