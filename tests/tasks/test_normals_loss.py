"""Surface normals: dot product and L2 loss, by hand and by law."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rock_d2.tasks import Normals
from rock_d2.tasks.normals import cosine_l2_loss

IMAGE = torch.zeros(3, 4, 6, dtype=torch.uint8)


def unit_vectors(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, dtype=dtype), dim=1)


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
    target = -prediction
    known = torch.tensor([True, False, False, False]).view(1, 1, 1, 4)
    assert float(cosine_l2_loss(prediction, target, known)) == pytest.approx(6)


def test_gradient_in_double_precision():
    torch.manual_seed(0)
    prediction = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    target = unit_vectors(2, 3, 2, 3, dtype=torch.float64)
    known = torch.rand(2, 1, 2, 3) > 0.3
    assert torch.autograd.gradcheck(lambda x: cosine_l2_loss(x, target, known), prediction)


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_unlabelled_images_count_for_nothing(seed):
    torch.manual_seed(seed)
    prediction = unit_vectors(2, 3, 2, 3).requires_grad_()
    label = unit_vectors(1, 3, 4, 6)[0] * (torch.rand(1, 4, 6) > 0.5)
    batch = [{"image": IMAGE}, {"image": IMAGE, "normals": label}]
    task = Normals()
    both = task.loss(prediction, task.collate(batch, torch.device("cpu")))
    alone = task.loss(prediction[1:], task.collate(batch[1:], torch.device("cpu")))
    torch.testing.assert_close(both, alone, atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(both, prediction)
    assert (gradient[0] == 0).all() and gradient.isfinite().all()


def test_a_batch_without_labels_has_a_loss_of_zero_with_a_gradient():
    prediction = unit_vectors(2, 3, 2, 3).requires_grad_()
    loss = Normals().loss(prediction, torch.zeros(2, 3, 4, 6))
    assert loss == 0
    assert (torch.autograd.grad(loss, prediction)[0] == 0).all()


def test_predictions_are_unit_vectors_at_any_size():
    torch.manual_seed(0)
    predicted = Normals().postprocess(unit_vectors(1, 3, 2, 3)[0].half(), (7, 10))
    assert predicted.shape == (3, 7, 10) and predicted.dtype == torch.float32
    torch.testing.assert_close(predicted.norm(dim=0), torch.ones(7, 10))


@pytest.mark.parametrize(
    "label",
    [torch.zeros(1, 4, 6), torch.zeros(4, 6, 3), torch.zeros(3, 4, 6, dtype=torch.float16)],
    ids=lambda label: f"{label.dtype}{tuple(label.shape)}",
)
def test_labels_of_another_form_are_refused(label):
    with pytest.raises(ValueError, match=r"`normals`.*float32 \(3, 4, 6\)"):
        Normals().collate([{"image": IMAGE, "normals": label}], torch.device("cpu"))
