import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn

from rock_d2 import add_rock_config
from rock_d2.engine.optimizer import build_optimizer


def settings(*options) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5, *options])
    return cfg


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, kernel_size=1), nn.BatchNorm2d(4))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_optimizer_is_pytorchs_of_that_name(name):
    optimizer = build_optimizer(settings("SOLVER.OPTIMIZER", name), model())
    assert type(optimizer) is getattr(torch.optim, name)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


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


def test_unknown_optimizer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"SOLVER.OPTIMIZER: 'Adamax' is none of Adam, AdamW, SGD"):
        build_optimizer(settings("SOLVER.OPTIMIZER", "Adamax"), model())
