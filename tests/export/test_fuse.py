"""The folded model is the model, to rounding."""

import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import Conv2d
from detectron2.modeling import build_backbone
from lively import DETECTORS, images, lively_model, rock_cfg
from timm.layers import StdConv2d
from tiny import with_random_norms
from torch import nn

from rock_d2 import add_rock_config
from rock_d2.export.fuse import BATCH_NORMS, fold, inference_copy


def num_norms(model: nn.Module) -> int:
    return sum(isinstance(module, BATCH_NORMS) for module in model.modules())


def assert_close(found, expected) -> None:
    # In double precision only a real difference is as large as this.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detector", DETECTORS)
@torch.no_grad()
def test_every_detector_computes_the_same(detector):
    cfg = rock_cfg(detector)
    model = lively_model(cfg).double()
    folded = inference_copy(model, cfg)
    assert num_norms(model) > 15 and num_norms(folded) == 0
    features, tasks, outputs = [], [], []
    for network in (model, folded):
        network.neck.register_forward_hook(lambda neck, inputs, found: tasks.append(found[1]))
        features.append(network.backbone(images(2).double()))
    assert_close(*features)
    assert_close(*tasks)
    for network in (model.float(), folded.float()):
        outputs.append(network([{"image": image} for image in images(2)]))
    for found, expected in zip(*outputs, strict=True):
        instances, truth = found["instances"], expected["instances"]
        assert len(instances) == len(truth) > 20
        torch.testing.assert_close(instances.scores, truth.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18_small"])
@torch.no_grad()
def test_networks_of_timm_lose_every_normalisation(name, norm):
    """Convolution and normalisation as neighbours, with and without an activation inside."""
    cfg = get_cfg()
    add_rock_config(cfg)
    settings = ["MODEL.BACKBONE.NAME", "TimmBackbone", "MODEL.TIMM.NAME", name]
    cfg.merge_from_list([*settings, "MODEL.TIMM.NORM", norm, "MODEL.TIMM.OUT_FEATURES", ["s16"]])
    network = with_random_norms(build_backbone(cfg).eval().double())
    folded = fold(copy.deepcopy(network))
    assert num_norms(network) >= 14 and num_norms(folded) == 0
    pixels = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    assert_close(folded(pixels), network(pixels))


class Block(nn.Module):
    """A convolution and a normalisation, used by a rule of their own."""

    def __init__(self, rule, *, conv: nn.Module | None = None, **settings):
        super().__init__()
        self.conv = conv or nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4, **settings)
        self.rule = rule

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rule(self, x)


def usual(block: Block, x: torch.Tensor) -> torch.Tensor:
    return block.norm(block.conv(x))


SHARED = nn.Conv2d(4, 4, 1)
UNSAFE = {
    "used twice": Block(lambda block, x: block.norm(y := block.conv(x)) + y),
    "called twice": Block(lambda block, x: block.norm(block.conv(block.conv(x)))),
    "something between": Block(lambda block, x: block.norm(block.conv(x).relu())),
    "control flow": Block(lambda block, x: usual(block, x) if x.mean() > -9 else x),
    "shared": nn.Sequential(Block(usual, conv=SHARED), Block(usual, conv=SHARED)),
    "own activation": Block(usual, conv=Conv2d(4, 4, 1, activation=nn.functional.relu)),
    "standardised weights": Block(usual, conv=StdConv2d(4, 4, 1)),
    "no statistics": Block(usual, track_running_stats=False),
}


@pytest.mark.parametrize("kind", UNSAFE)
@torch.no_grad()
def test_layers_stay_where_folding_is_not_safe(kind):
    network = with_random_norms(UNSAFE[kind].eval().double())
    folded = fold(copy.deepcopy(network))
    assert num_norms(folded) == num_norms(network)
    pixels = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    assert_close(folded(pixels), network(pixels))
