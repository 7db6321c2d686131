"""Matching against its rule: thresholds, and a default box for every ground truth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_d2.modeling.ssd.matcher import SSDMatcher

MATCHER = SSDMatcher([0.4, 0.5])


def owners_by_hand(ious: torch.Tensor) -> dict[int, int]:
    """The rule for one image in plain words: the ground truth of each box that is owned."""
    first_choice = ious.argmax(dim=1).tolist()
    free = set(range(ious.shape[1])) - set(first_choice)
    closest_first = sorted(range(len(ious)), key=lambda m: (-float(ious[m].max()), m))
    owners = {}
    for m in closest_first:
        owners.setdefault(first_choice[m], m)
    for m in closest_first:
        if owners[first_choice[m]] != m:
            box = max(free, key=lambda a: (float(ious[m, a]), -a))
            free.remove(box)
            owners[box] = m
    return owners


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**31), st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_matches_are_those_of_the_rule(num_truths, more, seed, levels):
    torch.manual_seed(seed)
    # Few levels make ties and shared best boxes the rule; with 0 more, boxes are just enough.
    ious = torch.randint(levels + 1, (2, num_truths, num_truths + more)) / levels
    ious[:, ::2, torch.randint(num_truths + more, (2,))] = 1.0
    present = torch.rand(2, num_truths) < 0.8
    positive, negative, truth = MATCHER(ious, present)
    for n in range(2):
        rows = present[n].nonzero()[:, 0]
        own = ious[n][rows]
        owners = owners_by_hand(own) if len(rows) else {}
        assert sorted(owners.values()) == list(range(len(rows)))
        for a in range(num_truths + more):
            best = float(own[:, a].max()) if len(rows) else -1.0
            assert bool(positive[n, a]) == (a in owners or best >= 0.5)
            assert bool(negative[n, a]) == (a not in owners and best < 0.4)
            if a in owners:
                assert truth[n, a] == rows[owners[a]]
            elif positive[n, a]:
                assert present[n, truth[n, a]] and ious[n, truth[n, a], a] == best


def test_the_closest_owns_a_shared_box_however_bad_it_is():
    # The best box of the first three truths is 0; truth 1 is closest. The last touches nothing.
    ious = torch.tensor([[0.3, 0.1, 0.2, 0, 0], [0.35, 0, 0, 0, 0], [0.2, 0, 0, 0.1, 0], [0] * 5])
    positive, negative, truth = MATCHER(ious[None], torch.ones(1, 4, dtype=torch.bool))
    assert positive[0].tolist() == [True, True, True, True, False]
    assert negative[0].tolist() == [False] * 4 + [True]
    # Truth 0 takes the best that is left, box 2; truth 2 box 3; the last the first of the rest.
    assert truth[0, :4].tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("thresholds", [(0.5, 0.4), (-0.1, 0.5), (0.4, 1.1), (0.5,)])
def test_thresholds_that_do_not_rise_are_refused(thresholds):
    with pytest.raises(ValueError, match=r"MODEL\.SSD\.IOU_THRESHOLDS"):
        SSDMatcher(thresholds)
