"""Scene classification: cross-entropy over the images that have a label."""

import math

import pytest
import torch

from rock_d2.tasks import Scene

CPU = torch.device("cpu")
TASK = Scene(num_classes=4)


def test_loss_by_hand():
    # Softmax of (ln 5, 0, 0, 0) gives 5/8 and 1/8.
    logits = torch.tensor([[math.log(5), 0, 0, 0], [math.log(5), 0, 0, 0]])
    target = TASK.collate([{"scene": 0}, {"scene": 3}], CPU)
    expected = (math.log(8 / 5) + math.log(8)) / 2
    assert float(TASK.loss(logits, target)) == pytest.approx(expected)


def test_gradient_is_softmax_minus_one_hot():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, requires_grad=True)
    target = TASK.collate([{"scene": 1}, {}, {"scene": 2}], CPU)
    (gradient,) = torch.autograd.grad(TASK.loss(logits, target), logits)
    expected = logits.softmax(dim=1)
    expected = torch.stack([expected[0] - torch.eye(4)[1], torch.zeros(4), expected[2]])
    expected[2, 2] -= 1
    torch.testing.assert_close(gradient, expected / 2)
    assert (gradient[1] == 0).all()


def test_unlabelled_images_count_for_nothing():
    torch.manual_seed(0)
    logits = torch.randn(2, 4)
    both = TASK.loss(logits, TASK.collate([{}, {"scene": 3}], CPU))
    assert both == TASK.loss(logits[1:], TASK.collate([{"scene": 3}], CPU))


def test_a_batch_without_labels_has_a_loss_of_zero_with_a_gradient():
    logits = torch.randn(2, 4, requires_grad=True)
    loss = TASK.loss(logits, TASK.collate([{}, {}], CPU))
    assert loss == 0
    assert (torch.autograd.grad(loss, logits)[0] == 0).all()


def test_prediction_is_a_distribution():
    scores = TASK.postprocess(torch.tensor([math.log(5), 0, 0, 0]), (480, 640))
    assert scores.tolist() == pytest.approx([5 / 8, 1 / 8, 1 / 8, 1 / 8])


@pytest.mark.parametrize("label", [4, 27, -2, 1.0, "kitchen", torch.tensor(1)], ids=repr)
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match=r"`scene` is .*SCENE\.NUM_CLASSES = 4"):
        TASK.collate([{"scene": label}], CPU)
