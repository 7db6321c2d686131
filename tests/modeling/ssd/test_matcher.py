"""Matching laws: thresholds, and a default box for every ground truth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_boxes
from torchvision.models.detection._utils import SSDMatcher as TorchvisionMatcher
from torchvision.ops import box_iou

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator
from rock_d2.modeling.ssd.matcher import Matches, SSDMatcher, owned_boxes, pairwise_iou

SIZE = (64, 96)
MAPS = [torch.zeros(1, 1, *size) for size in [(8, 12), (4, 6), (2, 3)]]
BOXES = SSDAnchorGenerator(
    image_size=SIZE, num_maps=3, scales=(0.2, 0.4, 0.8), aspect_ratios=(2.0,)
)(MAPS, SIZE)
MATCHER = SSDMatcher(low=0.4, high=0.5)


def assert_all_owned(matches: Matches, present: torch.Tensor) -> None:
    assert not (matches.positive & matches.negative).any()
    for n in range(len(present)):
        learned = set(matches.truth[n][matches.positive[n]].tolist())
        assert learned == set(present[n].nonzero()[:, 0].tolist())


@st.composite
def hard_truths(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of duplicates, nested boxes, boxes outside and padding; (2, M, 4) and (2, M)."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    count = draw(st.integers(1, 24))
    truths, present = torch.zeros(2, count, 4), torch.zeros(2, count, dtype=torch.bool)
    for n in range(2):
        pool = random_boxes(draw(st.integers(1, 3)), size=SIZE, smallest=4)
        same = pool[torch.randint(len(pool), (count,))]
        centre = (same[:, :2] + same[:, 2:]) / 2
        half = (same[:, 2:] - centre) * torch.rand(count, 1).clamp(min=0.05)
        nested = torch.cat([centre - half, centre + half], dim=1)
        free = random_boxes(count, size=SIZE, smallest=1)
        variants = torch.stack([same, nested, same + 1000, free])
        rows = torch.randperm(count)[: draw(st.integers(0, count))]
        truths[n, rows] = variants[torch.randint(4, (count,)), torch.arange(count)][rows]
        present[n, rows] = True
    return truths, present


@given(hard_truths())
@settings(deadline=None, max_examples=100)
def test_thresholds_decide_about_every_box_that_nobody_owns(case):
    truths, present = case
    ious = pairwise_iou(truths, BOXES)
    matches = MATCHER(ious, present)
    assert_all_owned(matches, present)
    for n in range(len(present)):
        number = int(present[n].sum())
        best = ious[n][present[n]].amax(dim=0) if number else torch.zeros(len(BOXES))
        positive, negative = matches.positive[n], matches.negative[n]
        different = (positive != (best >= 0.5)) | (negative != (best < 0.4))
        assert different.sum() <= number and positive[different].all()
        worse = positive & (ious[n].gather(0, matches.truth[n][None])[0] < best)
        assert worse.sum() <= number


def owners_by_hand(ious: torch.Tensor, present: torch.Tensor) -> dict[int, int]:
    """The rule for one image in plain words: the box of each ground truth."""
    truths = present.nonzero()[:, 0].tolist()
    first_choice = {m: int(ious[m].argmax()) for m in truths}
    owned, free = {}, set(range(ious.shape[1])) - set(first_choice.values())
    by_closeness = sorted(truths, key=lambda m: (-float(ious[m].max()), m))
    losers = []
    for m in by_closeness:
        if first_choice[m] in owned.values():
            losers.append(m)
        else:
            owned[m] = first_choice[m]
    for m in losers:
        owned[m] = max(free, key=lambda a: (float(ious[m, a]), -a))
        free.remove(owned[m])
    return owned


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**31), st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_owners_are_those_of_the_rule(num_truths, more, seed, levels):
    torch.manual_seed(seed)
    # Few levels make ties and shared best boxes the rule; with 0 more, boxes are just enough.
    ious = torch.randint(levels + 1, (2, num_truths, num_truths + more)) / levels
    ious[:, ::2, torch.randint(num_truths + more, (2,))] = 1.0
    present = torch.rand(2, num_truths) < 0.8
    owned = owned_boxes(ious.masked_fill(~present[..., None], -1), present)
    for n in range(2):
        expected = owners_by_hand(ious[n], present[n])
        assert len(set(expected.values())) == len(expected)
        assert {m: int(owned[n, m]) for m in expected} == expected
    assert_all_owned(MATCHER(ious, present), present)


def test_thresholds_by_hand():
    # One truth; box 4 is its own.
    ious = torch.tensor([[[0.0, 0.39, 0.4, 0.49, 0.7, 0.5]]])
    positive, negative, truth = MATCHER(ious, torch.ones(1, 1, dtype=torch.bool))
    assert positive[0].tolist() == [False, False, False, False, True, True]
    assert negative[0].tolist() == [True, True, False, False, False, False]
    assert truth.max() == 0


def test_the_closest_owns_a_shared_box_however_bad_it_is():
    # The best box of the first three truths is 0; truth 1 is closest. The last touches nothing.
    ious = torch.tensor([[0.3, 0.1, 0.2, 0, 0], [0.35, 0, 0, 0, 0], [0.2, 0, 0, 0.1, 0], [0] * 5])
    positive, negative, truth = MATCHER(ious[None], torch.ones(1, 4, dtype=torch.bool))
    assert positive[0].tolist() == [True, True, True, True, False]
    assert negative[0].tolist() == [False] * 4 + [True]
    # Truth 0 takes the best that is left, box 2; truth 2 box 3; the last the first of the rest.
    assert truth[0, :4].tolist() == [1, 3, 0, 2]


def test_an_image_without_objects_is_all_negative():
    present = torch.tensor([[False] * 4, [True] * 4])
    positive, negative, _ = MATCHER(torch.rand(2, 4, 9), present)
    assert negative[0].all() and not positive[0].any()
    assert positive[1].sum() >= 4


@pytest.mark.parametrize("seed", range(5))
def test_padding_changes_nothing(seed):
    torch.manual_seed(seed)
    ious = torch.randint(4, (1, 5, 12)) / 4
    alone = MATCHER(ious, torch.ones(1, 5, dtype=torch.bool))
    padded = torch.cat([ious, torch.rand(1, 7, 12)], dim=1)
    together = MATCHER(padded, torch.arange(12)[None] < 5)
    assert torch.equal(alone.positive, together.positive)
    assert torch.equal(alone.negative, together.negative)
    assert torch.equal(alone.truth[alone.positive], together.truth[alone.positive])


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchvision(seed):
    torch.manual_seed(seed)
    truths = random_boxes(6, size=SIZE, smallest=12)
    best = box_iou(truths, BOXES).argmax(dim=1).tolist()
    # torchvision lets one of several truths have a shared best box, whichever comes last.
    truths = truths[[m for m, box in enumerate(best) if box not in best[m + 1 :]]]
    ious = pairwise_iou(truths[None], BOXES)
    expected = TorchvisionMatcher(0.5)(box_iou(truths, BOXES))
    matcher = SSDMatcher(low=0.5, high=0.5)
    positive, negative, truth = matcher(ious, torch.ones(1, len(truths)) > 0)
    assert torch.equal(positive[0], expected >= 0)
    assert torch.equal(truth[0][expected >= 0], expected[expected >= 0])
    assert (positive != negative).all()


def test_padding_of_zeros_overlaps_nothing():
    assert (pairwise_iou(torch.zeros(1, 2, 4), BOXES) == 0).all()


@pytest.mark.parametrize("thresholds", [(0.5, 0.4), (-0.1, 0.5), (0.4, 1.1)])
def test_thresholds_that_do_not_rise_are_refused(thresholds):
    with pytest.raises(ValueError, match=r"MODEL\.SSD\.IOU_THRESHOLDS"):
        SSDMatcher(low=thresholds[0], high=thresholds[1])
