"""Every layout of weights, written as its publisher does and loaded without a conversion."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.modeling import build_model
from safetensors.torch import save_file
from torch import nn
from torchvision_resnets import TORCHVISION_SETTINGS, features_of, with_random_statistics

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.checkpoint.formats import WEIGHT_FORMATS, WeightFormat

# A neck would refine the backbone's maps.
TORCHVISION = (*TORCHVISION_SETTINGS, "MODEL.NECK.NAME", "IdentityNeck")
RESNET50 = ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NORM", "FrozenBN")
# With all of its layers and few channels.
TINY_RESNET50 = (
    *RESNET50,
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
)
PYRAMID = "detectors/retinanet_plain_rooms.yaml"


def loaded(cfg, file: Path | str) -> nn.Module:
    torch.manual_seed(1)
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(str(file))
    return model.eval()


def assert_equal(state: dict, expected: dict) -> None:
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


def write_pth(state: dict, folder: Path) -> Path:
    torch.save(state, folder / "resnet-f37072fd.pth")
    return folder / "resnet-f37072fd.pth"


def write_safetensors(state: dict, folder: Path) -> Path:
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def write_wrapped(state: dict, folder: Path) -> Path:
    """Write a file as the training scripts of torchvision and timm do with several GPUs."""
    parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": parallel, "epoch": 90}, folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


@pytest.mark.parametrize(
    ("write", "depth", "settings"),
    [
        (write_safetensors, 18, {}),
        (write_wrapped, 18, {"name": PYRAMID}),
        # Torchvision strides in the 3 x 3 convolutions, and its batch normalisation can be frozen.
        (write_pth, 50, {}),
    ],
)
def test_torchvision_resnet_gives_torchvision_features(
    write, depth, settings, small_config, resnets, tmp_path
):
    resnet50 = (*RESNET50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256) if depth == 50 else ()
    cfg = small_config(*TORCHVISION, *resnet50, **settings)
    backbone = loaded(cfg, write(resnets[depth].state_dict(), tmp_path)).backbone
    resnet = backbone.bottom_up if settings else backbone
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = features_of(resnets[depth], image)
        assert expected.std() > 0.1
        torch.testing.assert_close(resnet(image)["res5"], expected, atol=1e-4, rtol=0)


def test_timm_network_of_a_pyramid_takes_timm_names(small_config, tmp_path):
    cfg = small_config(
        *("MODEL.BACKBONE.NAME", "build_retinanet_timm_fpn_backbone"),
        *("MODEL.TIMM.NAME", "resnet18", "MODEL.FPN.IN_FEATURES", ["s8", "s16", "s32"]),
        name=PYRAMID,
    )
    source = with_random_statistics(timm.create_model("resnet18")).state_dict()
    net = loaded(cfg, write_pth(source, tmp_path)).backbone.bottom_up.net.state_dict()
    assert len(net) == len(source) - 2  # Without the classifier.
    assert_equal(net, source)


def caffe2_name(name: str) -> str:
    """Return the name in MSRA/R-50.pkl of one of Detectron2's."""
    stem = {"stem.conv1.weight": "conv1_w", "stem.conv1.norm.": "res_conv1_bn_"}
    parts = {
        **{"conv1.": "branch2a_", "conv2.": "branch2b_", "conv3.": "branch2c_"},
        **{"shortcut.": "branch1_", "norm.": "bn_", "bn_weight": "bn_gamma", "bn_bias": "bn_beta"},
        **{"weight": "w", ".": "_"},
    }
    for part, replacement in {**stem, **parts}.items():
        name = name.replace(part, replacement)
    return name


@pytest.mark.parametrize(
    ("author", "detector"),
    [
        (None, ()),
        (
            "Caffe2",
            # With conv5 in its heads.
            ("MODEL.DETECTOR", "GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES", 19)
            + ("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.ROCK.IN_FEATURES", ["res4"])
            + ("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"),
        ),
    ],
    ids=["SSD", "Faster R-CNN"],
)
def test_caffe2_r50_is_found_where_detectron2_keeps_it(
    author, detector, small_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    resnet = build_model(small_config(*TINY_RESNET50)).backbone.state_dict()
    rng = np.random.default_rng(0)
    arrays = {caffe2_name(n): rng.random(x.shape, dtype=np.float32) for n, x in resnet.items()}
    assert len(arrays) == 53 * 5 and "res2_0_branch2a_bn_running_var" in arrays
    file = tmp_path / "detectron2" / "ImageNetPretrained" / "MSRA" / "R-50.pkl"
    file.parent.mkdir(parents=True)
    # With the classifier and the stem's bias, as the real file.
    content = arrays | {"conv1_b": np.zeros(8), "fc1000_w": np.zeros((1000, 128))}
    wrapped = {"model": content, "__author__": author, "matching_heuristics": True}
    file.write_bytes(pickle.dumps(wrapped if author else content, protocol=2))
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    model = loaded(small_config(*TINY_RESNET50, *detector), address)
    state = model.state_dict()
    for name in resnet:
        found = state[f"roi_heads.{name}" if detector and "res5" in name else f"backbone.{name}"]
        assert np.array_equal(found, arrays[caffe2_name(name)]), name


@pytest.mark.parametrize("into_pyramid", [False, True])
def test_backbone_moves_into_a_pyramid_and_out_of_it(into_pyramid, small_config, tmp_path):
    ssd, pyramid = small_config(), small_config(name=PYRAMID)
    source = build_model(ssd if into_pyramid else pyramid)
    torch.save({"model": source.state_dict(), "iteration": 7}, tmp_path / "model_final.pth")
    model = loaded(pyramid if into_pyramid else ssd, tmp_path / "model_final.pth")
    with_pyramid, bare = (model, source) if into_pyramid else (source, model)
    assert_equal(bare.backbone.state_dict(), with_pyramid.backbone.bottom_up.state_dict())


def test_converted_torchvision_resnet_fills_the_backbone(small_config, tmp_path):
    cfg = small_config(*TORCHVISION_SETTINGS)
    torch.manual_seed(0)
    source = build_model(cfg).backbone.state_dict()
    arrays = {name: x.numpy() for name, x in source.items()}
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-18.pkl").write_bytes(pickle.dumps(content))
    assert_equal(loaded(cfg, tmp_path / "R-18.pkl").backbone.state_dict(), source)


def test_other_shapes_stay_as_they_are_initialised(small_config, tmp_path, heard):
    cfg, name = small_config(), "head.cls_score.0.weight"
    state = build_model(cfg).state_dict()
    torch.save({"model": state | {name: torch.zeros(96, 512, 3, 3)}}, tmp_path / "a.pth")
    model = loaded(cfg, tmp_path / "a.pth")
    assert f"{name} is (96, 512, 3, 3) in the file and" in heard.text
    assert model.state_dict()[name].std() > 0


def test_no_format_is_asked_about_names_that_match(small_config, tmp_path, monkeypatch):
    for _, kind in WEIGHT_FORMATS:
        monkeypatch.setattr(kind, "recognises", lambda *_: True)
        monkeypatch.setattr(kind, "translate", lambda *_: {})
    cfg = small_config(name=PYRAMID)
    state = build_model(cfg).state_dict()
    torch.save(state, tmp_path / "a.pth")
    assert_equal(loaded(cfg, tmp_path / "a.pth").state_dict(), state)


def test_unknown_layout_is_refused_until_it_is_registered(small_config, tmp_path):
    class Reversed(WeightFormat):
        title = "weights with reversed names"

        def recognises(self, tensors, model_names):
            return any(name.endswith(".enobkcab") for name in tensors)

        def translate(self, tensors, model_names):
            return {name[::-1]: value for name, value in tensors.items()}

    cfg = small_config()
    state = build_model(cfg).state_dict()
    torch.save({name[::-1]: value for name, value in state.items()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: names such as .* belong to no known layout"):
        loaded(cfg, tmp_path / "a.pth")
    WEIGHT_FORMATS.register(Reversed)
    assert_equal(loaded(cfg, tmp_path / "a.pth").state_dict(), state)
