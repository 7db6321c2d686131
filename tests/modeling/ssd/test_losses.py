"""SSD's losses: by hand, by a plain loop, and against independent implementations."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SIZE, bare_ssd, mine_three, random_boxes
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import ssd as torchvision_ssd
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou

from rock_d2.modeling.ssd.matcher import SSDMatcher
from rock_d2.modeling.ssd.losses import (
    box_loss,
    focal_loss,
    matched_deltas,
    mine_negatives,
    take_rows,
)

POSITIVE, IGNORED, NEGATIVE = 1, 0, -1
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
NUM_CLASSES = 4


def random_batch(seed: int, counts: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    """Logits, deltas and boxes as of a head, and padded ground truths for images of ``counts``.

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
    return logits, torch.randn(len(counts), 300, 4), boxes, gt_boxes, gt_classes, present


def loop_losses(batch: tuple[torch.Tensor, ...], low: float, high: float) -> dict[str, float]:
    """SSD's objective image by image, box by box."""
    logits, deltas, boxes, gt_boxes, gt_classes, present = batch
    coder = Box2BoxTransform(weights=WEIGHTS)
    cls_sum, box_sum, num_positives = 0.0, 0.0, 0
    for n in range(len(logits)):
        truths, classes = gt_boxes[n][present[n]], gt_classes[n][present[n]]
        ious = box_iou(truths, boxes)
        owners = {int(row.argmax()): m for m, row in enumerate(ious)}
        positive_losses, negative_losses = [], []
        for a in range(len(boxes)):
            best = int(ious[:, a].argmax()) if len(truths) else -1
            overlap = float(ious[best, a]) if len(truths) else 0.0
            m = owners.get(a, best if overlap >= high else -1)
            target = classes[m] if m >= 0 else torch.tensor(NUM_CLASSES)
            loss = float(F.cross_entropy(logits[n, a], target))
            if m >= 0:
                positive_losses.append(loss)
                goal = coder.get_deltas(boxes[a][None], truths[m][None])[0]
                box_sum += float(F.smooth_l1_loss(deltas[n, a], goal, reduction="sum"))
            elif overlap < low:
                negative_losses.append(loss)
        num_positives += len(positive_losses)
        hardest = sorted(negative_losses, reverse=True)[: 3 * max(len(positive_losses), 1)]
        cls_sum += sum(positive_losses) + sum(hardest)
    scale = max(num_positives, 1)
    return {"loss_cls": cls_sum / scale, "loss_box_reg": box_sum / scale}


@pytest.mark.parametrize("counts", [(3, 0, 7), (0, 0), (5,), (1, 8)], ids=str)
def test_batch_equals_a_plain_loop(counts):
    batch = random_batch(sum(counts), counts)
    losses = bare_ssd(matcher=SSDMatcher(low=0.4, high=0.5)).losses(*batch)
    expected = loop_losses(batch, low=0.4, high=0.5)
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=1e-5)


def torchvision_losses(batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    logits, deltas, boxes, gt_boxes, gt_classes, present = batch
    other = torchvision_ssd.SSD(
        backbone=nn.Identity(),
        anchor_generator=DefaultBoxGenerator([[2]]),
        size=SIZE,
        num_classes=NUM_CLASSES + 1,
        head=nn.Identity(),
    )
    # There, class 0 is the background.
    outputs = {"cls_logits": logits.roll(1, dims=-1), "bbox_regression": deltas}
    targets = [
        {"boxes": b[p], "labels": c[p] + 1}
        for b, c, p in zip(gt_boxes, gt_classes, present, strict=True)
    ]
    matches = [other.proposal_matcher(box_iou(target["boxes"], boxes)) for target in targets]
    return other.compute_loss(targets, outputs, [boxes] * len(targets), matches)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchvision(seed):
    batch = random_batch(seed, (4, 8, 1))
    logits, deltas = (batch[i].requires_grad_() for i in (0, 1))
    ours = bare_ssd(matcher=SSDMatcher(low=0.5, high=0.5)).losses(*batch)
    other = torchvision_losses(batch)
    pairs = (("loss_cls", "classification", logits), ("loss_box_reg", "bbox_regression", deltas))
    for name, other_name, prediction in pairs:
        torch.testing.assert_close(ours[name], other[other_name], atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(x, prediction)[0] for x in (ours[name], other[other_name])]
        torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)


def coded(boxes: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Each truth (K, 4) relative to the box of its number."""
    return matched_deltas(boxes, truths[None], torch.arange(len(boxes))[None], WEIGHTS)[0]


def test_box_coding_agrees_and_round_trips():
    torch.manual_seed(0)
    # Sides of 10 to 320: apply_deltas caps how much larger than its box a truth may be at 62.5.
    boxes = random_boxes(50, size=(480, 640), smallest=10)
    truths = random_boxes(50, size=(480, 640), smallest=10)
    deltas = coded(boxes, truths)
    coder = Box2BoxTransform(weights=WEIGHTS)
    torch.testing.assert_close(deltas, coder.get_deltas(boxes, truths), atol=1e-5, rtol=1e-6)
    other = BoxCoder(WEIGHTS).encode_single(truths, boxes)
    torch.testing.assert_close(deltas, other, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(coder.apply_deltas(deltas, boxes), truths, atol=1e-3, rtol=0)
    assert (coded(boxes, boxes) == 0).all()


def test_box_coding_by_hand():
    # From a box of 10 x 20 at (5, 10) to one of 20 x 20 at (20, 10): 15 / 10 and ln 2.
    box, truth = torch.tensor([[[0.0, 0.0, 10.0, 20.0]], [[10.0, 0.0, 30.0, 20.0]]])
    assert coded(box, truth)[0].tolist() == pytest.approx([15.0, 0.0, 5 * math.log(2), 0.0])


def test_matched_boxes_are_coded_like_any():
    torch.manual_seed(0)
    boxes = random_boxes(50, size=SIZE, smallest=10)
    truths = random_boxes(12, size=SIZE, smallest=10).view(3, 4, 4)
    match = torch.randint(4, (3, 50))
    coder = Box2BoxTransform(weights=WEIGHTS)
    expected = torch.stack([coder.get_deltas(boxes, truths[n][match[n]]) for n in range(3)])
    found = matched_deltas(boxes, truths, match, WEIGHTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4)], ids=str)
def test_rows_are_taken_as_they_are(shape):
    table = torch.tensor([0.0, -0.0, math.inf, math.nan, 1e-45, -3.5])[torch.randint(6, shape)]
    index = torch.randint(5, (3, 50))
    expected = torch.stack([rows[index[n]] for n, rows in enumerate(table.expand(3, 5, 4))])
    taken = take_rows(table, index)
    assert torch.equal(taken.view(torch.int32), expected.view(torch.int32))


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
    for image in range(2):
        negative = labels[image] == NEGATIVE
        positives = int((labels[image] == POSITIVE).sum())
        assert not kept[image][~negative].any()
        assert kept[image].sum() == min(ratio * max(positives, 1), negative.sum())
        dropped = losses[image][negative & ~kept[image]]
        if kept[image].any() and len(dropped):
            assert losses[image][kept[image]].min() >= dropped.max()


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_of_equal_negatives_mining_keeps_the_first(seed, count, levels):
    torch.manual_seed(seed)
    labels = torch.randint(-1, 2, (3, count))
    # From -0.0, which a certain prediction costs, to what only a wild one does.
    losses = -torch.tensor([0.0, -1e-30, -0.5, -0.5, -3.0, -1e30])[
        torch.randint(levels, (3, count))
    ]
    kept = mine_negatives(losses, labels == POSITIVE, labels == NEGATIVE, 1.0)
    for n in range(3):
        negatives = (labels[n] == NEGATIVE).nonzero()[:, 0].tolist()
        negatives.sort(key=lambda a: -float(losses[n, a]))
        num_kept = max(int((labels[n] == POSITIVE).sum()), 1)
        assert kept[n].nonzero()[:, 0].tolist() == sorted(negatives[:num_kept])


def test_hard_negative_loss_by_hand():
    # Two classes of objects and equal logits: every loss is ln 3. One positive keeps 3 of 5
    # negatives, the ignored box counts nowhere; the image without objects keeps 3.
    labels = torch.tensor([[POSITIVE, IGNORED] + [NEGATIVE] * 5, [NEGATIVE] * 7])
    classes = torch.where(labels == POSITIVE, 1, 2)
    logits = torch.zeros(2, 7, 3)
    loss = mine_three(logits, classes, labels == POSITIVE, labels == NEGATIVE)
    assert float(loss) == pytest.approx((4 + 3) * math.log(3))


def test_focal_loss_by_hand():
    # p = 1/4 for each of 4 classes, then softmax of (ln 7, 0, 0, 0) = 7/10 for the first.
    labels = torch.tensor([[POSITIVE, NEGATIVE, IGNORED, POSITIVE]])
    classes = torch.tensor([[0, 3, 3, 0]])
    logits = torch.zeros(1, 4, 4)
    logits[0, 3, 0] = math.log(7)
    logits[0, 2, 1] = 5.0
    expected = (
        0.25 * 0.75**2 * math.log(4) + 0.75 * 0.75**2 * math.log(4) + 0.25 * 0.3**2 * -math.log(0.7)
    )
    loss = focal_two(logits, classes, labels == POSITIVE, labels == NEGATIVE)
    assert float(loss) == pytest.approx(expected)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 6, 4), torch.randint(3, (2, 6))
    positive = torch.ones(2, 6, dtype=torch.bool)
    loss = focal_loss(logits, classes, positive, ~positive, gamma=0.0, alpha=0.5)
    expected = 0.5 * F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="sum")
    torch.testing.assert_close(loss, expected)


def test_box_loss_by_hand():
    # |d| = 0.5: 0.5 * 0.25; |d| = 2: 2 - 0.5. Only the positive counts.
    deltas = torch.tensor([[[0.5, -2.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    positive = torch.tensor([[True, False]])
    assert float(box_loss(deltas, torch.zeros(1, 2, 4), positive, beta=1.0)) == 0.125 + 1.5


def differentiable(name: str) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """A loss of one argument and a float64 argument for it."""
    torch.manual_seed(0)
    labels = torch.tensor([[POSITIVE, NEGATIVE, NEGATIVE, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE]])
    positive, negative = labels == POSITIVE, labels == NEGATIVE
    classes = torch.where(positive, 1, 3)
    logits = torch.randn(1, 7, 4, dtype=torch.float64, requires_grad=True)
    deltas = torch.randn(1, 7, 4, dtype=torch.float64, requires_grad=True)
    return {
        "mining": (lambda x: mine_three(x, classes, positive, negative), logits),
        "focal": (lambda x: focal_two(x, classes, positive, negative), logits),
        "box": (
            lambda x: box_loss(x, torch.zeros(1, 7, 4).double(), positive, beta=1.0),
            deltas,
        ),
    }[name]


@pytest.mark.parametrize("name", ["mining", "focal", "box"])
def test_gradients(name):
    loss, prediction = differentiable(name)
    assert torch.autograd.gradcheck(loss, prediction)


focal_two = partial(focal_loss, gamma=2.0, alpha=0.25)


@pytest.mark.parametrize("loss", ["mining", "focal"])
def test_matching_and_losses_compile_without_a_graph_break(loss):
    torch._dynamo.reset()
    choice = {"mining": mine_three, "focal": focal_two}[loss]
    ssd = bare_ssd(matcher=SSDMatcher(low=0.4, high=0.5), cls_loss=choice)
    batch = random_batch(0, (3, 0))
    compiled = torch.compile(ssd.losses, fullgraph=True, backend="eager")
    for name, value in compiled(*batch).items():
        torch.testing.assert_close(value, ssd.losses(*batch)[name])


def test_losses_stay_finite_for_wild_predictions():
    batch = random_batch(0, (3, 0))
    logits, deltas = (1e4 * batch[i].detach() for i in (0, 1))
    for choice in (mine_three, focal_two):
        ssd = bare_ssd(matcher=SSDMatcher(low=0.4, high=0.5), cls_loss=choice)
        logits.requires_grad_()
        losses = ssd.losses(logits, deltas, *batch[2:])
        assert all(loss.isfinite() for loss in losses.values())
        assert torch.autograd.grad(losses["loss_cls"], logits)[0].isfinite().all()
