"""The folded model is the model, to rounding."""

import copy

import pytest
import torch
from detectron2.layers import Conv2d
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from lively import DETECTORS, images, lively_model, rock_cfg
from tiny import tiny_cfg, with_random_norms
from torch import nn

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


# Every registered backbone, timm's with a network of each family.
NETWORKS = ("resnet18", "tf_efficientnet_lite0", "convnext_atto", "hrnet_w18_small_v2")
BACKBONES = [(name, "resnet18") for name, _ in BACKBONE_REGISTRY]
BACKBONES += [("TimmBackbone", network) for network in NETWORKS[1:]]


@pytest.mark.parametrize(("name", "network"), BACKBONES)
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@torch.no_grad()
def test_every_backbone_computes_the_same(name, network, norm):
    is_normalised = not network.startswith("convnext")
    maps = ["s8", "s16", "s32"] if "timm" in name.lower() else ["res3", "res4", "res5"]
    cfg = tiny_cfg(
        *("MODEL.BACKBONE.NAME", name, "MODEL.TIMM.NAME", network, "MODEL.FPN.IN_FEATURES", maps),
        *("MODEL.TIMM.NORM", norm if is_normalised else "", "MODEL.RESNETS.NORM", norm),
        *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.FPN.NORM", norm),
        *("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 64),
    )
    torch.manual_seed(0)
    backbone = with_random_norms(build_backbone(cfg).eval()).double()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.uniform_(-0.5, 0.5)
    pixels = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    expected = backbone(pixels)
    assert all(x.std() > 0.01 for x in expected.values())
    found = fold(copy.deepcopy(backbone))(pixels)
    # To 1e-9 of the largest value, since random networks' values have any scale.
    for key, x in expected.items():
        assert_close(found[key] / x.abs().max(), x / x.abs().max())


@torch.no_grad()
def test_a_convolutions_own_bias_stays_in_the_result():
    conv = with_random_norms(Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4)).eval().double())
    pixels = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    folded = fold(copy.deepcopy(conv))
    assert conv.bias.abs().min() > 0 and folded.norm is None
    assert_close(folded(pixels), conv(pixels))


@torch.no_grad()
def test_layers_stay_where_folding_is_not_safe():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    network = with_random_norms(Conv2d(4, 4, 1, norm=norm).eval().double())
    folded = fold(copy.deepcopy(network))
    assert num_norms(folded) == 1
    pixels = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    assert_close(folded(pixels), network(pixels))


def test_the_model_itself_stays_as_it_is():
    cfg = rock_cfg("ssd")
    model = lively_model(cfg).train()
    before = copy.deepcopy(dict(model.state_dict()))
    folded = inference_copy(model, cfg)
    assert model.training and not folded.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert_close(dict(model.state_dict()), before)
    assert inference_copy(model, rock_cfg("ssd", "TEST.FOLD", False)) is model


def test_the_copy_is_compiled_in_the_mode_of_the_setting(monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda call, mode, **_: modes.append(mode) or call)
    cfg = rock_cfg("ssd", "TEST.COMPILE", "reduce-overhead")
    inference_copy(lively_model(cfg), cfg)([{"image": images(1)[0]}])
    assert modes == ["reduce-overhead"]
