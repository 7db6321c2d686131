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


@pytest.mark.parametrize(
    ("slope", "precision"), [(100.0, None), (0.125, None), (0.125, torch.float16)]
)
def test_clipping_bounds_the_gradient_without_the_scale_of_fp16(slope, precision):
    model = Slope()
    optimizer = build_optimizer(settings(*CLIPPED, *PLAIN_SGD), model)
    new_step(model, [[{"slope": slope}]], optimizer, precision=precision).run_step()
    # The learning rate is 0.5.
    assert model.weight.item() == -0.5 * min(slope, 0.25)
