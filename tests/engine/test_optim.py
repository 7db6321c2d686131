import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn
from toy import Slope, new_step

from rock_d2 import add_rock_config
from rock_d2.engine.optim import build_optimizer

CLIP = "SOLVER.CLIP_GRADIENTS"
CLIPPED = (f"{CLIP}.ENABLED", True, f"{CLIP}.CLIP_TYPE", "value", f"{CLIP}.CLIP_VALUE", 0.25)
PLAIN_SGD = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)


def settings(*options: object) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5, *options])
    return cfg


def network() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, kernel_size=1)
    return nn.Sequential(conv, nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_steps_are_those_of_pytorchs_optimizer(name):
    ours, theirs = network(), network()
    options = ("SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.NESTEROV", True)
    optimizer = build_optimizer(settings(*options), ours)
    # As few groups as there are settings, however many parameters.
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
    twins = dict(zip(ours.parameters(), theirs.parameters(), strict=True))
    groups = [
        {**group, "fused": False, "params": [twins[p] for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    plain = getattr(torch.optim, name)(groups)
    for _ in range(3):
        for parameter, twin in twins.items():
            parameter.grad = torch.randn_like(parameter)
            twin.grad = parameter.grad.clone()
        optimizer.step()
        plain.step()
        for parameter, twin in twins.items():
            torch.testing.assert_close(parameter, twin, rtol=1e-5, atol=1e-6)


def test_sgd_has_detectron2s_momentum():
    options = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.7, "SOLVER.NESTEROV", True)
    (first, *_) = build_optimizer(settings(*options), network()).param_groups
    assert (first["momentum"], first["nesterov"]) == (0.7, True)


def test_normalization_and_biases_have_their_own_weight_decay():
    part = network()
    options = ("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_NORM", 0.2)
    optimizer = build_optimizer(settings(*options, "SOLVER.WEIGHT_DECAY_BIAS", 0.3), part)
    decay = {
        parameter: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert [decay[p] for p in part.parameters()] == [0.1, 0.3, 0.2, 0.3]


def test_clipping_bounds_what_a_step_moves():
    model = Slope()
    optimizer = build_optimizer(settings(*CLIPPED, *PLAIN_SGD), model)
    new_step(model, [[{"slope": 100.0}]], optimizer).run_step()
    # 0.5, the learning rate, times 0.25.
    assert model.weight.item() == -0.125


def test_clipping_is_of_gradients_without_the_scale_of_fp16():
    model = Slope()
    optimizer = build_optimizer(settings(*CLIPPED, *PLAIN_SGD), model)
    new_step(model, [[{"slope": 0.125}]], optimizer, precision=torch.float16).run_step()
    assert model.weight.item() == -0.0625


def test_unknown_optimizer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"OPTIMIZER is 'Adamax'; it must be one of Adam, AdamW"):
        build_optimizer(settings("SOLVER.OPTIMIZER", "Adamax"), network())
