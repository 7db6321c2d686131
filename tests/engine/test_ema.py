import copy

import pytest
import torch
from torch import nn

from rock_d2.engine.ema import WeightAverage


def scalar(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    return set_to(layer, value)


def set_to(layer: nn.Linear, value: float) -> nn.Linear:
    layer.weight.data.fill_(value)
    return layer


def averaged(average: WeightAverage) -> float:
    with average.applied():
        return average.model.weight.item()


def test_average_by_hand():
    layer = scalar(1.0)
    average = WeightAverage(layer, decay=0.15)
    average.update()
    assert averaged(average) == pytest.approx(1.0)
    # Decays 1/10, min(2/11, 0.15) = 0.15 and 0.15: the first update met the initial weight.
    set_to(layer, 3.0)
    average.update()
    assert averaged(average) == pytest.approx(0.15 * 1 + 0.85 * 3)
    set_to(layer, 5.0)
    average.update()
    assert averaged(average) == pytest.approx(0.15 * 2.7 + 0.85 * 5)
    assert layer.weight.item() == 5.0


def test_decay_starts_at_one_tenth():
    layer = scalar(1.0)
    average = WeightAverage(layer, decay=0.999)
    set_to(layer, 2.0)
    average.update()
    assert averaged(average) == pytest.approx(0.1 * 1 + 0.9 * 2)


def test_statistics_are_averaged_and_counters_copied():
    norm = nn.BatchNorm1d(1)
    average = WeightAverage(norm, decay=0.999)
    norm.running_mean.fill_(10.0)
    norm.num_batches_tracked.fill_(7)
    average.update()
    with average.applied():
        assert norm.running_mean.item() == pytest.approx(9.0)
        assert norm.num_batches_tracked.item() == 7


def test_average_returns_the_weights_after_an_error():
    layer = scalar(1.0)
    average = WeightAverage(layer, decay=0.9)
    set_to(layer, 2.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert layer.weight.item() == 2.0


def test_training_goes_on_from_a_checkpoint_as_if_never_interrupted():
    torch.manual_seed(0)
    values = torch.randn(6).tolist()
    layer = scalar(values[0])
    average = WeightAverage(layer, decay=0.5)
    for value in values[1:4]:
        set_to(layer, value)
        average.update()
    with average.applied():
        stored = copy.deepcopy({"model": layer.state_dict(), "average": average.state_dict()})

    resumed = scalar(0.0)
    resumed_average = WeightAverage(resumed, decay=0.5)
    resumed.load_state_dict(stored["model"])
    resumed_average.load_state_dict(stored["average"])
    assert resumed.weight.item() == layer.weight.item()
    for value in values[4:]:
        for one, its_average in ((layer, average), (resumed, resumed_average)):
            set_to(one, value)
            its_average.update()
    assert averaged(resumed_average) == averaged(average)


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"MODEL_EMA.DECAY is 1.0; it must be in \[0, 1\)"):
        WeightAverage(scalar(0.0), decay=1.0)
