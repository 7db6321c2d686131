"""Every layout of weights, written as its publisher does and loaded without a conversion."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.modeling import build_model
from safetensors.torch import save_file
from tiny import with_random_norms
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from rock_d2.checkpoint.checkpointer import RockCheckpointer

# A neck would refine the backbone's maps.
TORCHVISION = (
    *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
    *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]", "MODEL.RESNETS.STRIDE_IN_1X1", False),
    *("MODEL.NECK.NAME", "IdentityNeck"),
)
RESNET50 = ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NORM", "FrozenBN")
WIDE_RESNET50 = (*RESNET50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256)
# With all of its layers and few channels.
TINY_RESNET50 = (
    *RESNET50,
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
)
PYRAMID = "rooms_scratch/retinanet_plain_rooms.yaml"


def loaded(cfg, file: Path | str) -> nn.Module:
    torch.manual_seed(1)
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(str(file))
    return model.eval()


def saved(content: dict, folder: Path) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def assert_equal(state: dict, expected: dict) -> None:
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


@pytest.mark.parametrize(
    ("kind", "depth"),
    # Torchvision strides in the 3 x 3 convolutions, and its batch normalisation can be frozen.
    [("safetensors", 50), ("wrapped, into a pyramid", 18)],
)
def test_torchvision_resnet_gives_torchvision_features(
    kind, depth, small_config, resnets, tmp_path
):
    resnet50 = WIDE_RESNET50 if depth == 50 else ()
    state, file, settings = resnets[depth].state_dict(), tmp_path / "a.safetensors", {}
    if kind == "safetensors":
        save_file(state, file)
    else:
        # As the training scripts of torchvision and timm write with several GPUs.
        parallel = {f"module.{name}": value for name, value in state.items()}
        file, settings = saved({"state_dict": parallel, "epoch": 90}, tmp_path), {"name": PYRAMID}
    backbone = loaded(small_config(*TORCHVISION, *resnet50, **settings), file).backbone
    resnet = backbone.bottom_up if settings else backbone
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = create_feature_extractor(resnets[depth], ["layer4"])(image)["layer4"]
        assert expected.std() > 0.1
        torch.testing.assert_close(resnet(image)["res5"], expected, atol=1e-4, rtol=0)


def test_timm_network_of_a_pyramid_takes_timm_names(small_config, tmp_path):
    cfg = small_config(
        *("MODEL.BACKBONE.NAME", "build_retinanet_timm_fpn_backbone"),
        *("MODEL.TIMM.NAME", "resnet18", "MODEL.FPN.IN_FEATURES", ["s8", "s16", "s32"]),
        name=PYRAMID,
    )
    source = with_random_norms(timm.create_model("resnet18")).state_dict()
    net = loaded(cfg, saved(source, tmp_path)).backbone.bottom_up.net.state_dict()
    assert len(net) == len(source) - 2  # Without the classifier.
    assert_equal(net, source)


def caffe2_name(name: str) -> str:
    """Return the name in MSRA/R-50.pkl of one of Detectron2's."""
    for part, replacement in {
        **{"stem.conv1.weight": "conv1_w", "stem.conv1.norm.": "res_conv1_bn_"},
        **{"conv1.": "branch2a_", "conv2.": "branch2b_", "conv3.": "branch2c_"},
        **{"shortcut.": "branch1_", "norm.": "bn_", "bn_weight": "bn_gamma", "bn_bias": "bn_beta"},
        **{"weight": "w", ".": "_"},
    }.items():
        name = name.replace(part, replacement)
    return name


def test_caffe2_r50_is_found_where_detectron2_keeps_it(small_config, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    resnet = build_model(small_config(*TINY_RESNET50)).backbone.state_dict()
    rng = np.random.default_rng(0)
    arrays = {caffe2_name(n): rng.random(x.shape, dtype=np.float32) for n, x in resnet.items()}
    assert len(arrays) == 53 * 5 and "res2_0_branch2a_bn_running_var" in arrays
    file = tmp_path / "detectron2" / "ImageNetPretrained" / "MSRA" / "R-50.pkl"
    file.parent.mkdir(parents=True)
    # With the classifier and the stem's bias, as the real file.
    content = arrays | {"conv1_b": np.zeros(8), "fc1000_w": np.zeros((1000, 128))}
    file.write_bytes(pickle.dumps(content, protocol=2))
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    state = loaded(small_config(*TINY_RESNET50), address).state_dict()
    for name in resnet:
        assert np.array_equal(state[f"backbone.{name}"], arrays[caffe2_name(name)]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("INPUT.FORMAT", "BGR"), 'set INPUT.FORMAT "RGB"'),
        (
            (*WIDE_RESNET50, "MODEL.RESNETS.STRIDE_IN_1X1", True),
            'set MODEL.RESNETS.STRIDE_IN_1X1 "False"',
        ),
        # ResNet-18 has 20 convolutions with 5 tensors each, ResNet-34 has 36.
        (("MODEL.RESNETS.DEPTH", 34), "fits 100 of 180 tensors that it must fill: backbone.res2.2"),
    ],
)
def test_wrong_setting_is_refused_with_the_right_one(
    settings, message, small_config, resnets, tmp_path
):
    file = saved(resnets[50 if settings[:2] == WIDE_RESNET50[:2] else 18].state_dict(), tmp_path)
    cfg = small_config(*TORCHVISION, *settings)
    model = build_model(cfg)
    before = model.backbone.stem.conv1.weight.clone()
    with pytest.raises(ValueError, match=re.escape(message)):
        RockCheckpointer(cfg, model=model).load(str(file))
    assert torch.equal(model.backbone.stem.conv1.weight, before)
