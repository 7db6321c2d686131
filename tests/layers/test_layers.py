"""Pooling laws, the reduction of label maps, and weights that follow from a name."""

from contextlib import ExitStack

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_d2.layers import block_average, global_average, known_average, own_seed


def test_averages_of_known_numbers():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert global_average(x).tolist() == [[3.0, 1.0]]
    # Channels 0 to 5 hold their own number: blocks (0, 1), (2, 3), (4, 5).
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 4)
    pooled = block_average(x, 3)
    assert pooled.shape == (2, 3, 3, 4)
    assert pooled[1, :, 2, 3].tolist() == [0.5, 2.5, 4.5]
    assert torch.equal(block_average(x, 6), x)


@given(st.integers(0, 2**31), st.sampled_from([(3, 4), (6, 8), (5, 7)]))
@settings(deadline=None, max_examples=15)
def test_reduction_equals_a_loop_over_cells(seed, size):
    torch.manual_seed(seed)
    target = torch.randn(1, 3, 6, 8)
    known = torch.rand(1, 1, 6, 8) > 0.6
    means, any_known = known_average(target, known, size)
    for row in range(size[0]):
        for column in range(size[1]):
            rows = slice(row * 6 // size[0], -(-(row + 1) * 6 // size[0]))
            columns = slice(column * 8 // size[1], -(-(column + 1) * 8 // size[1]))
            chosen = known[0, 0, rows, columns]
            values = target[0, :, rows, columns][:, chosen]
            assert any_known[0, 0, row, column] == bool(chosen.any())
            expected = values.mean(dim=1) if chosen.any() else torch.zeros(3)
            torch.testing.assert_close(means[0, :, row, column], expected, atol=1e-5, rtol=1e-5)


def drawn(*parts: str) -> float:
    """Return a random number of a part within other parts."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(own_seed(part))
        return float(torch.rand(()))


def test_weights_follow_from_the_seed_and_the_name_only():
    torch.manual_seed(0)
    after = float(torch.rand(()))
    torch.manual_seed(0)
    names = [("a",), ("b",), ("a", "c"), ("b", "c")]
    numbers = [drawn(*parts) for parts in names]
    assert len(set(numbers)) == 4
    assert [drawn(*parts) for parts in reversed(names)] == numbers[::-1]
    assert float(torch.rand(())) == after, "the generator outside stays where it is"
    torch.manual_seed(1)
    assert drawn("a") != numbers[0]
