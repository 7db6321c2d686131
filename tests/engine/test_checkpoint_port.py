"""Checkpoints of rock-pytorch: another network, taken in parts and on request only."""

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn
from torch.nn import functional as F
from torchvision_resnets import TORCHVISION_SETTINGS, features_of, with_random_statistics

from rock_d2.engine.checkpoint import RockCheckpointer

# Torchvision's bottlenecks at the port's depth; the trunk has the width of the small config.
R50 = ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256)
WIDTH = 64


class PortTrunk(nn.Module):
    """The first layers of the port's auxiliary block, under its names."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2048, WIDTH, kernel_size=1)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.bn2 = nn.BatchNorm2d(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    torch.manual_seed(3)
    return with_random_statistics(PortTrunk())


@pytest.fixture(scope="module")
def port_file(resnet50, trunk, tmp_path_factory) -> str:
    """What its trainer saves, with one tensor of each layer that we do not have."""
    state = {f"feature_extractor.{n}": x for n, x in resnet50.state_dict().items()}
    state = {n: x for n, x in state.items() if ".fc." not in n}
    state |= {f"auxiliary.{n}": x for n, x in trunk.state_dict().items()}
    state |= {
        "auxiliary.bn3.weight": torch.ones(2048),
        "auxiliary.depth_extractor.conv1.weight": torch.zeros(256, 512, 1, 1),
        "detection.additional_layers.0.0.weight": torch.zeros(1024, 2048, 1, 1),
        "detection.loc.0.weight": torch.zeros(16, 2048, 3, 3),
        "detection.conf.0.weight": torch.zeros(80, 2048, 3, 3),
    }
    file = tmp_path_factory.mktemp("port") / "rock_trained.pt"
    torch.save({"epoch": 400, "iteration": 40000, "optimizer": {}, "model": state}, file)
    return str(file)


def test_port_is_refused_by_default(small_config, port_file):
    cfg = small_config(*TORCHVISION_SETTINGS)
    with pytest.raises(ValueError, match=r"another network.*MODEL\.WEIGHTS_FROM_PORT True"):
        RockCheckpointer(cfg, model=build_model(cfg)).load(port_file)


def test_switch_takes_backbone_and_trunk_exactly(small_config, port_file, resnet50, trunk):
    cfg = small_config(*TORCHVISION_SETTINGS, *R50, "MODEL.WEIGHTS_FROM_PORT", True)
    torch.manual_seed(4)
    model = build_model(cfg)
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    extra = RockCheckpointer(cfg, model=model).load(port_file)
    assert extra == {}
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    model.eval()
    with torch.no_grad():
        x = features_of(resnet50, image)
        expected = trunk(x)
        assert expected.std() > 0.01
        torch.testing.assert_close(model.backbone(image)["res5"], x, atol=1e-4, rtol=0)
        torch.testing.assert_close(model.neck.trunk(x), expected, atol=1e-4, rtol=0)
    for name, value in model.head.state_dict().items():
        assert torch.equal(value, head[name]), name
