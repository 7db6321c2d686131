"""SSD's losses: by hand, and against independent implementations."""

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from fvcore.nn import smooth_l1_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SIZE, bare_ssd, random_boxes
from torch import nn
from torchvision.models.detection import ssd as torchvision_ssd
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou

from rock_d2.modeling.ssd.detector import Truths
from rock_d2.modeling.ssd.losses import box_loss, matched_deltas, mine_negatives

POSITIVE, IGNORED, NEGATIVE = 1, 0, -1
CODER = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
NUM_CLASSES = 4
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, Truths, list[tuple[int, int]]]


def random_batch(seed: int, counts: tuple[int, ...]) -> Batch:
    """Arguments of ``SSD.losses`` with ``counts`` objects in the images.

    Each default box belongs to at most one truth as its best.
    """
    torch.manual_seed(seed)
    boxes = random_boxes(300, size=SIZE, smallest=10)
    gt_boxes = torch.zeros(len(counts), 8, 4)
    for n, count in enumerate(counts):
        chosen = torch.randperm(300)[:count]
        gt_boxes[n, :count] = boxes[chosen] + torch.rand(count, 4)
        assert box_iou(gt_boxes[n, :count], boxes).argmax(dim=1).unique().numel() == count
    gt_classes = torch.randint(NUM_CLASSES, (len(counts), 8))
    present = torch.arange(8) < torch.tensor(counts)[:, None]
    logits = torch.randn(len(counts), 300, NUM_CLASSES + 1)
    deltas = torch.randn(len(counts), 300, 4)
    known = torch.ones(len(counts), dtype=torch.bool)
    ignored = torch.zeros(len(counts), NUM_CLASSES + 1, dtype=torch.bool)
    truths = Truths(gt_boxes, gt_classes, present, known, ignored)
    return logits, deltas, boxes, truths, [SIZE] * len(counts)


def torchvision_losses(batch: Batch) -> dict[str, torch.Tensor]:
    logits, deltas, boxes, truths, _ = batch
    other = torchvision_ssd.SSD(
        backbone=nn.Identity(),
        anchor_generator=DefaultBoxGenerator([[2]]),
        size=SIZE,
        num_classes=NUM_CLASSES + 1,
        head=nn.Identity(),
    )
    # There, class 0 is the background.
    outputs = {"cls_logits": logits.roll(1, dims=-1), "bbox_regression": deltas}
    targets = [{"boxes": b[p], "labels": c[p] + 1} for b, c, p in zip(*truths[:3], strict=True)]
    matches = [other.proposal_matcher(box_iou(target["boxes"], boxes)) for target in targets]
    return other.compute_loss(targets, outputs, [boxes] * len(targets), matches)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchvision(seed):
    batch = random_batch(seed, (4, 8, 1))
    logits, deltas = (batch[i].requires_grad_() for i in (0, 1))
    ours = bare_ssd(iou_thresholds=[0.5, 0.5]).losses(*batch)
    other = torchvision_losses(batch)
    pairs = (("loss_cls", "classification", logits), ("loss_box_reg", "bbox_regression", deltas))
    for name, other_name, prediction in pairs:
        torch.testing.assert_close(ours[name], other[other_name], atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(x, prediction)[0] for x in (ours[name], other[other_name])]
        torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)


def test_matched_boxes_are_coded_as_by_detectron2():
    torch.manual_seed(0)
    boxes = random_boxes(50, size=SIZE, smallest=10)
    truths = random_boxes(12, size=SIZE, smallest=10).view(3, 4, 4)
    match = torch.randint(4, (3, 50))
    found = matched_deltas(boxes, truths, match, CODER.weights)
    for n in range(3):
        wanted = truths[n][match[n]]
        torch.testing.assert_close(found[n], CODER.get_deltas(boxes, wanted), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(CODER.apply_deltas(found[n], boxes), wanted, atol=1e-3, rtol=0)


@given(
    st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), min_size=1, max_size=40),
    st.integers(0, 2**31),
    st.sampled_from([1.0, 3.0]),
)
@settings(deadline=None, max_examples=100)
def test_mining_keeps_the_hardest(labels, seed, ratio):
    torch.manual_seed(seed)
    labels = torch.tensor([labels, labels[::-1]])
    losses = torch.rand(labels.shape)
    kept = mine_negatives(losses, labels == POSITIVE, labels == NEGATIVE, ratio)
    for n in range(2):
        negatives = (labels[n] == NEGATIVE).nonzero()[:, 0].tolist()
        negatives.sort(key=lambda a: -float(losses[n, a]))
        num_kept = int(ratio) * max(int((labels[n] == POSITIVE).sum()), 1)
        assert kept[n].nonzero()[:, 0].tolist() == sorted(negatives[:num_kept])


def test_box_loss_is_fvcores_of_the_positives():
    torch.manual_seed(0)
    deltas, targets = 2 * torch.randn(2, 9, 4), torch.randn(2, 9, 4)
    positive = torch.rand(2, 9) > 0.5
    for beta in (1.0, 0.11):
        expected = smooth_l1_loss(deltas[positive], targets[positive], beta=beta, reduction="sum")
        torch.testing.assert_close(box_loss(deltas, targets, positive, beta=beta), expected)


def test_default_boxes_in_the_padding_learn_nothing():
    logits, deltas, boxes, truths, _ = random_batch(0, (3, 0))
    logits.requires_grad_()
    inside = (boxes[:, 0] + boxes[:, 2]) / 2 < 40
    truths = truths._replace(boxes=truths.boxes * torch.tensor([0.3, 1, 0.3, 1]))
    ssd = bare_ssd()
    losses = ssd.losses(logits, deltas, boxes, truths, [(SIZE[0], 40), (SIZE[0], 40)])
    (gradient,) = torch.autograd.grad(losses["loss_cls"], logits)
    assert (gradient[:, ~inside] == 0).all()
    assert (gradient[:, inside] != 0).any(dim=2).any(dim=1).all()
