"""Pooling laws: ROCK's predictors and the reduction of label maps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_d2.layers.pooling import ChannelAverage, GlobalAverage, UnitLength, known_average


def test_global_average_of_known_numbers():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert GlobalAverage()(x).tolist() == [[3.0, 1.0]]


def test_channel_average_takes_blocks_of_neighbours():
    # Channels 0 to 5 hold their own number: blocks (0, 1), (2, 3), (4, 5).
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 4)
    pooled = ChannelAverage(num_blocks=3)(x)
    assert pooled.shape == (2, 3, 3, 4)
    assert pooled[1, :, 2, 3].tolist() == [0.5, 2.5, 4.5]
    assert torch.equal(ChannelAverage(num_blocks=6)(x), x)


def test_unit_length_of_known_vector():
    x = torch.tensor([0.0, 3.0, -4.0]).view(1, 3, 1, 1)
    assert UnitLength()(x).flatten().tolist() == pytest.approx([0.0, 0.6, -0.8])
    assert UnitLength()(x.half()).dtype == torch.float32


def test_only_known_pixels_count():
    target = torch.tensor([[2.0, 0.0, 5.0, 7.0], [0.0, 0.0, 9.0, 11.0]])[None, None]
    target = torch.cat([target, torch.zeros(1, 1, 2, 4)], dim=3)
    means, known = known_average(target, target > 0, (1, 4))
    # Cells of 2 x 2 pixels: one known pixel, four, none, none.
    assert means.flatten().tolist() == [2.0, 8.0, 0.0, 0.0]
    assert known.flatten().tolist() == [True, True, False, False]


@given(st.integers(0, 2**31), st.sampled_from([(6, 8), (12, 16), (5, 7)]))
@settings(deadline=None, max_examples=25)
def test_reduction_equals_a_loop_over_cells(seed, size):
    torch.manual_seed(seed)
    target = torch.randn(2, 3, 12, 16)
    known = torch.rand(2, 1, 12, 16) > 0.6
    means, any_known = known_average(target, known, size)
    for n in range(2):
        for row in range(size[0]):
            for column in range(size[1]):
                rows = slice(row * 12 // size[0], -(-(row + 1) * 12 // size[0]))
                columns = slice(column * 16 // size[1], -(-(column + 1) * 16 // size[1]))
                chosen = known[n, 0, rows, columns]
                values = target[n, :, rows, columns][:, chosen]
                assert any_known[n, 0, row, column] == bool(chosen.any())
                expected = values.mean(dim=1) if chosen.any() else torch.zeros(3)
                torch.testing.assert_close(means[n, :, row, column], expected, atol=1e-5, rtol=1e-5)
