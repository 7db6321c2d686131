import math
from copy import deepcopy

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn

from rock_d2 import add_rock_config
from rock_d2.engine.optim import build_optimizer, load_optimizer
from rock_d2.engine.step import TrainingStep
from fuzz.chaos import differing


def settings(*options) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5, *options])
    return cfg


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, kernel_size=1), nn.BatchNorm2d(4))


NAMES = ("Adam", "AdamW", "SGD")


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_is_pytorchs_of_that_name(name):
    optimizer = build_optimizer(settings("SOLVER.OPTIMIZER", name), model())
    assert isinstance(optimizer, getattr(torch.optim, name))
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
    # As few groups as there are settings, however many parameters.
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_pytorchs_to_the_last_bit(name):
    ours, theirs = model(), model()
    options = ("SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", 0.1)
    optimizer = build_optimizer(settings(*options), ours)
    twins = dict(zip(ours.parameters(), theirs.parameters(), strict=True))
    groups = [{**g, "params": [twins[p] for p in g["params"]]} for g in optimizer.param_groups]
    plain = getattr(torch.optim, name)(groups)
    for _ in range(3):
        for parameter, twin in twins.items():
            parameter.grad = torch.randn_like(parameter)
            twin.grad = parameter.grad.clone()
        optimizer.step()
        plain.step()
        assert all(torch.equal(parameter, twin) for parameter, twin in twins.items())
    assert differing(plain.state_dict(), optimizer.state_dict()) == []
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in twins)


def test_sgd_has_detectron2s_momentum():
    options = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.7, "SOLVER.NESTEROV", True)
    (first, *_) = build_optimizer(settings(*options), model()).param_groups
    assert first["momentum"] == 0.7
    assert first["nesterov"]


def test_normalisation_and_biases_have_their_own_weight_decay():
    part = model()
    options = ("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_NORM", 0.2)
    optimizer = build_optimizer(settings(*options, "SOLVER.WEIGHT_DECAY_BIAS", 0.3), part)
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decay == {
        id(part[0].weight): 0.1,
        id(part[0].bias): 0.3,
        id(part[1].weight): 0.2,
        id(part[1].bias): 0.3,
    }


def test_clipping_bounds_what_a_step_moves():
    parameter = nn.Linear(1, 1, bias=False)
    clip = "SOLVER.CLIP_GRADIENTS"
    options = (f"{clip}.ENABLED", True, f"{clip}.CLIP_TYPE", "value", f"{clip}.CLIP_VALUE", 0.25)
    plain = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)
    optimizer = build_optimizer(settings(*options, *plain), parameter)
    before = parameter.weight.item()
    parameter.weight.grad = torch.full_like(parameter.weight, 100.0)
    optimizer.step()
    # 0.5, the learning rate, times 0.25.
    assert before - parameter.weight.item() == pytest.approx(0.125)


def steps(optimizer: torch.optim.Optimizer, layer: nn.Module, seeds: range) -> None:
    for seed in seeds:
        for parameter in layer.parameters():
            generator = torch.Generator().manual_seed(seed)
            gradient = torch.randn(parameter.shape, generator=generator)
            # In the parameter's memory format, as autograd leaves it.
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()


def conv(memory_format: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, kernel_size=3).to(memory_format=memory_format)


@pytest.mark.parametrize("name", NAMES)
def test_fused_steps_are_the_plain_ones(name):
    layer, plain = conv(torch.channels_last), conv(torch.contiguous_format)
    options = ("SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.NESTEROV", True)
    optimizer = build_optimizer(settings(*options), layer)
    (group,) = optimizer.param_groups
    assert group["fused"]
    same = {key: value for key, value in group.items() if key not in ("params", "fused")}
    expected = getattr(torch.optim, name)([{**same, "params": list(plain.parameters())}], lr=1)
    steps(optimizer, layer, range(3))
    steps(expected, plain, range(3))
    torch.testing.assert_close(layer.weight, plain.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_memory_format_is_taken_over(name):
    chosen = settings("SOLVER.OPTIMIZER", name)
    layer = conv(torch.contiguous_format)
    optimizer = build_optimizer(chosen, layer)
    steps(optimizer, layer, range(2))
    stored = deepcopy(optimizer.state_dict())
    # What Detectron2's and PyTorch's own optimizers store.
    stored["param_groups"] = [{**group, "fused": None} for group in stored["param_groups"]]
    other = conv(torch.channels_last)
    other.load_state_dict(layer.state_dict())
    resumed = build_optimizer(chosen, other)
    load_optimizer(resumed, stored)
    steps(optimizer, layer, range(2, 4))
    steps(resumed, other, range(2, 4))
    torch.testing.assert_close(other.weight, layer.weight, rtol=1e-5, atol=1e-6)


class Slope(nn.Module):
    """A loss whose gradient is what the batch says."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: list[dict[str, float]]) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight * batch[0]["slope"]).sum()}


def test_momentum_starts_from_nothing_even_if_the_first_step_is_skipped():
    options = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.5, "SOLVER.WEIGHT_DECAY", 0.0)
    model = Slope()
    batches = [[{"slope": slope}] for slope in (math.nan, 1.0, 1.0)]
    optimizer = build_optimizer(settings(*options), model)
    step = TrainingStep(model, batches, optimizer, max_skipped_steps=1)
    # Memory that nobody has written to is then not a number.
    torch.use_deterministic_algorithms(True)
    try:
        for _ in batches:
            step.run()
    finally:
        torch.use_deterministic_algorithms(False)
    # 0.5, the learning rate, times 1 and then 1.5.
    assert model.weight.item() == -1.25


def test_clipping_is_of_gradients_without_the_scale_of_fp16():
    clip = "SOLVER.CLIP_GRADIENTS"
    options = (f"{clip}.ENABLED", True, f"{clip}.CLIP_TYPE", "value", f"{clip}.CLIP_VALUE", 0.25)
    plain = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)
    model = Slope()
    optimizer = build_optimizer(settings(*options, *plain), model)
    TrainingStep(model, [[{"slope": 0.125}]], optimizer, precision=torch.float16).run()
    assert model.weight.item() == -0.0625


def test_unknown_optimizer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"SOLVER.OPTIMIZER: 'Adamax' is none of Adam, AdamW, SGD"):
        build_optimizer(settings("SOLVER.OPTIMIZER", "Adamax"), model())
