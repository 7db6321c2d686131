"""Surface normals: dot product and L2 loss, by hand and by law."""

import pytest
import torch
from torch.nn import functional as F

from rock_d2.tasks import Normals
from rock_d2.tasks.normals import cosine_l2_loss


@pytest.mark.parametrize(
    ("vector", "loss"),
    # (1 - dot) + squared distance: equal, opposite, and at a right angle 1 + 2.
    [([0.0, 0.6, -0.8], 0.0), ([0.0, -0.6, 0.8], 6.0), ([1.0, 0.0, 0.0], 3.0)],
)
def test_loss_by_hand(vector, loss):
    prediction = torch.tensor(vector).view(1, 3, 1, 1).expand(1, 3, 2, 3)
    target = torch.tensor([0.0, 0.6, -0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    assert float(Normals().loss(prediction, target)) == pytest.approx(loss, abs=1e-6)


def test_targets_are_means_of_known_pixels_at_unit_length():
    # (1, 0, 0) and (0, 0, -1) are known, their mean has length 1 / sqrt(2).
    target = torch.zeros(1, 3, 4, 6)
    target[0, :, 0, 0] = torch.tensor([1.0, 0, 0])
    target[0, :, 3, 5] = torch.tensor([0.0, 0, -1])
    prediction = F.normalize(torch.tensor([1.0, 0, -1]), dim=0).view(1, 3, 1, 1)
    assert float(Normals().loss(prediction, target)) == pytest.approx(0, abs=1e-6)


def test_mean_over_known_pixels_only():
    prediction = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    known = torch.tensor([True, False, False, False]).view(1, 1, 1, 4)
    assert float(cosine_l2_loss(prediction, -prediction, known)) == pytest.approx(6)


def test_gradient_in_double_precision():
    torch.manual_seed(0)
    prediction = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    target = F.normalize(torch.randn(2, 3, 2, 3, dtype=torch.float64), dim=1)
    known = torch.rand(2, 1, 2, 3) > 0.3
    assert torch.autograd.gradcheck(lambda x: cosine_l2_loss(x, target, known), prediction)


def test_activation_and_predictions_are_unit_vectors():
    vector = torch.tensor([0.0, 3.0, -4.0]).view(1, 3, 1, 1)
    assert Normals().activation(vector).flatten().tolist() == pytest.approx([0.0, 0.6, -0.8])
    torch.manual_seed(0)
    predicted = Normals().postprocess(torch.randn(3, 2, 3).half(), (7, 10))
    torch.testing.assert_close(predicted.norm(dim=0), torch.ones(7, 10))
