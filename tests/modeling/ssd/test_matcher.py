"""Matching laws: thresholds, and a default box for every ground truth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_boxes
from torchvision.models.detection._utils import SSDMatcher as TorchvisionMatcher
from torchvision.ops import box_iou

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator
from rock_d2.modeling.ssd.matcher import (
    BLOCK,
    NUM_COLUMNS,
    Matches,
    SSDMatcher,
    first_max,
    owned_boxes,
    pairwise_iou,
)

SIZE = (64, 96)
MAPS = [(8, 12), (4, 6), (2, 3)]
BOXES = torch.cat(
    [
        boxes.tensor
        for boxes in SSDAnchorGenerator(
            image_size=SIZE, map_sizes=MAPS, scales=(0.2, 0.4, 0.8), aspect_ratios=(2.0,)
        )([torch.zeros(1, 1, *size) for size in MAPS])
    ]
)
MATCHER = SSDMatcher(low=0.4, high=0.5)


def assert_all_owned(matches: Matches, present: torch.Tensor) -> None:
    assert not (matches.positive & matches.negative).any()
    for n in range(len(present)):
        learned = set(matches.truth[n][matches.positive[n]].tolist())
        wanted = set(present[n].nonzero()[:, 0].tolist())
        assert wanted <= learned, f"ground truths {wanted - learned} have no default box"
        assert learned <= wanted, f"padding {learned - wanted} has a default box"


@st.composite
def hard_truths(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of duplicates, nested boxes, boxes outside and padding; (2, M, 4) and (2, M)."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    count = draw(st.integers(1, 24))
    truths, present = torch.zeros(2, count, 4), torch.zeros(2, count, dtype=torch.bool)
    for n in range(2):
        number = draw(st.integers(0, count))
        pool = random_boxes(draw(st.integers(1, 3)), size=SIZE, smallest=4)
        kinds = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
        same = pool[torch.randint(len(pool), (count,))]
        centre = (same[:, :2] + same[:, 2:]) / 2
        half = (same[:, 2:] - centre) * torch.rand(count, 1).clamp(min=0.05)
        nested = torch.cat([centre - half, centre + half], dim=1)
        outside = same + 1000
        free = random_boxes(count, size=SIZE, smallest=1)
        variants = torch.stack([same, nested, outside, free])
        rows = torch.randperm(count)[:number]
        truths[n, rows] = variants[kinds, torch.arange(count)][rows]
        present[n, rows] = True
    return truths, present


@given(hard_truths())
@settings(deadline=None, max_examples=150)
def test_every_ground_truth_owns_a_default_box(case):
    truths, present = case
    assert_all_owned(MATCHER(pairwise_iou(truths, BOXES), present), present)


@given(st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**31), st.integers(1, 4))
@settings(deadline=None, max_examples=300)
def test_as_many_boxes_as_ground_truths_are_enough(num_truths, more, seed, levels):
    torch.manual_seed(seed)
    # Few levels make ties and shared best boxes the rule.
    shape = (3, num_truths, num_truths + more)
    ious = torch.randint(levels + 1, shape) / levels
    present = torch.rand(3, num_truths) < 0.8
    assert_all_owned(MATCHER(ious, present), present)


@given(hard_truths())
@settings(deadline=None, max_examples=50)
def test_thresholds_decide_about_every_box_that_nobody_owns(case):
    truths, present = case
    ious = pairwise_iou(truths, BOXES)
    positive, negative, truth = MATCHER(ious, present)
    for n in range(len(present)):
        number = int(present[n].sum())
        best = ious[n][present[n]].amax(dim=0) if number else torch.zeros(len(BOXES))
        different = (positive[n] != (best >= 0.5)) | (negative[n] != (best < 0.4))
        assert different.sum() <= number
        assert positive[n][different].all()
        chosen = ious[n].gather(0, truth[n][None])[0]
        if number:
            worse = positive[n] & (chosen < best)
            assert worse.sum() <= number


def owners_by_hand(ious: torch.Tensor, present: torch.Tensor) -> dict[int, int]:
    """The rule for one image in plain words: the box of each ground truth."""
    truths = present.nonzero()[:, 0].tolist()
    best = {m: int(ious[m].argmax()) for m in truths}
    closest = {b: max(truths, key=lambda m: (best[m] == b, ious[m, b], -m)) for b in best.values()}
    owned = {m: b for b, m in closest.items()}
    losers = [m for m in truths if m not in owned]
    free = [a for a in range(ious.shape[1]) if a not in closest]
    for turn, m in enumerate(losers):
        share = [a for j, a in enumerate(free) if j % NUM_COLUMNS % len(losers) == turn]
        owned[m] = max(share, key=lambda a: (ious[m, a], -a))
    return owned


@given(st.integers(1, 12), st.integers(0, 300), st.integers(0, 2**31), st.integers(1, 50))
@settings(deadline=None, max_examples=150)
def test_owners_are_those_of_the_rule(num_truths, more, seed, levels):
    torch.manual_seed(seed)
    ious = torch.randint(levels + 1, (2, num_truths, num_truths + more)) / levels
    # Several have the same best box.
    ious[:, ::2, torch.randint(num_truths + more, (2,))] = 1.0
    present = torch.rand(2, num_truths) < 0.8
    ious[~present] = -1
    owned = owned_boxes(ious, present)
    for n in range(2):
        expected = owners_by_hand(ious[n], present[n])
        assert {m: int(owned[n, m]) for m in expected} == expected


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("width", [1, 70, BLOCK, 3 * BLOCK, 3 * BLOCK + 1])
@pytest.mark.parametrize("levels", [4, 1000])
def test_first_of_equal_maxima(dim, width, levels):
    torch.manual_seed(0)
    table = torch.randint(levels, (5, 6, width)) / 3
    table[2, 3, -1] = levels
    values, index = first_max(table, dim=dim)
    assert torch.equal(values, table.amax(dim=dim))
    assert torch.equal(index, table.argmax(dim=dim))


def test_the_closest_owns_a_shared_box():
    # Three truths whose best box is 0; boxes 1 to 4 are worse. Truth 1 is closest.
    ious = torch.tensor(
        [[[0.3, 0.1, 0.2, 0.0, 0.0], [0.45, 0.0, 0.0, 0.0, 0.0], [0.2, 0.0, 0.0, 0.1, 0.0]]]
    )
    present = torch.ones(1, 3, dtype=torch.bool)
    matches = MATCHER(ious, present)
    assert matches.positive[0, 0] and matches.truth[0, 0] == 1
    assert matches.positive[0].sum() == 3
    assert_all_owned(matches, present)


def test_thresholds_by_hand():
    # One truth; box 4 is its own.
    ious = torch.tensor([[[0.0, 0.39, 0.4, 0.49, 0.7, 0.5]]])
    positive, negative, truth = MATCHER(ious, torch.ones(1, 1, dtype=torch.bool))
    assert positive[0].tolist() == [False, False, False, False, True, True]
    assert negative[0].tolist() == [True, True, False, False, False, False]
    assert truth.max() == 0


def test_a_ground_truth_owns_its_best_box_however_bad_it_is():
    ious = torch.tensor([[[0.01, 0.02, 0.0], [0.0, 0.0, 0.0]]])
    positive, negative, truth = MATCHER(ious, torch.ones(1, 2, dtype=torch.bool))
    assert truth[0, 1] == 0 and positive[0, 1]
    assert positive[0].sum() == 2 and negative[0].sum() == 1


def test_an_image_without_objects_is_all_negative():
    present = torch.tensor([[False] * 4, [True] * 4])
    positive, negative, _ = MATCHER(torch.rand(2, 4, 9), present)
    assert negative[0].all() and not positive[0].any()
    assert positive[1].sum() >= 4


def test_padding_changes_nothing():
    torch.manual_seed(0)
    truths = random_boxes(5, size=SIZE, smallest=8)[None]
    ious = pairwise_iou(truths, BOXES)
    alone = MATCHER(ious, torch.ones(1, 5, dtype=torch.bool))
    padded = torch.cat([ious, torch.zeros(1, 27, len(BOXES))], dim=1)
    together = MATCHER(padded, torch.arange(32)[None] < 5)
    assert torch.equal(alone.positive, together.positive)
    assert torch.equal(alone.negative, together.negative)
    assert torch.equal(alone.truth[alone.positive], together.truth[alone.positive])


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_torchvision(seed):
    torch.manual_seed(seed)
    truths = random_boxes(6, size=SIZE, smallest=12)
    best = box_iou(truths, BOXES).argmax(dim=1).tolist()
    # torchvision lets one of several truths have a shared best box, whichever comes last.
    truths = truths[[m for m, box in enumerate(best) if box not in best[m + 1 :]]]
    ious = box_iou(truths, BOXES)
    expected = TorchvisionMatcher(0.5)(ious)
    matcher = SSDMatcher(low=0.5, high=0.5)
    positive, negative, truth = matcher(ious[None], torch.ones(1, len(truths)) > 0)
    assert torch.equal(positive[0], expected >= 0)
    assert torch.equal(truth[0][expected >= 0], expected[expected >= 0])
    assert (positive != negative).all()


def test_iou_agrees_with_torchvision():
    torch.manual_seed(0)
    truths = random_boxes(14, size=SIZE, smallest=2).view(2, 7, 4)
    expected = torch.stack([box_iou(image, BOXES) for image in truths])
    torch.testing.assert_close(pairwise_iou(truths, BOXES), expected, atol=1e-6, rtol=0)
    assert (pairwise_iou(torch.zeros(1, 2, 4), BOXES) == 0).all()
