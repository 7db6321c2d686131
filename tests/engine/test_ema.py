import copy

import pytest
import torch
from torch import nn

from rock_d2.engine.ema import WeightAverage


def scalar(value: float) -> nn.Linear:
    return set_to(nn.Linear(1, 1, bias=False), value)


def set_to(layer: nn.Linear, value: float) -> nn.Linear:
    layer.weight.data.fill_(value)
    return layer


def averaged(average: WeightAverage) -> float:
    with average.applied():
        return average.model.weight.item()


def test_average_by_hand():
    layer = scalar(1.0)
    average = WeightAverage(layer, decay=0.15)
    # Decays 1/10, then min(2/11, 0.15) = 0.15.
    expected = 1.0
    for decay, value in ((0.1, 2.0), (0.15, 3.0), (0.15, 5.0)):
        set_to(layer, value)
        average.update()
        expected = decay * expected + (1 - decay) * value
        assert averaged(average) == pytest.approx(expected)
        assert layer.weight.item() == value


def test_statistics_are_averaged_and_counters_copied():
    norm = nn.BatchNorm1d(1)
    average = WeightAverage(norm, decay=0.999)
    norm.running_mean.fill_(10.0)
    norm.num_batches_tracked.fill_(7)
    average.update()
    with average.applied():
        assert norm.running_mean.item() == pytest.approx(9.0)
        assert norm.num_batches_tracked.item() == 7


def test_checkpoint_of_the_average_resumes_the_training():
    layer = scalar(1.0)
    average = WeightAverage(layer, decay=0.5)
    set_to(layer, 2.0)
    average.update()
    with average.applied():
        stored = copy.deepcopy({"model": layer.state_dict(), "average": average.state_dict()})
    assert stored["model"]["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    resumed = scalar(0.0)
    resumed_average = WeightAverage(resumed, decay=0.5)
    resumed.load_state_dict(stored["model"])
    resumed_average.load_state_dict(stored["average"])
    assert resumed.weight.item() == 2.0
    for one, its_average in ((layer, average), (resumed, resumed_average)):
        set_to(one, 7.0)
        its_average.update()
    assert torch.equal(resumed.weight, layer.weight)
    assert averaged(resumed_average) == averaged(average)
