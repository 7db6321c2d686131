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

from rock_d2 import model_zoo
from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.checkpoint.formats import WEIGHT_FORMATS, WeightFormat

# A ResNet-50 with all of its layers and few channels.
TINY_RESNET50 = (
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NORM", "FrozenBN"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4),
)
MSRA_SETTINGS = ("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]")
# A neck would refine the backbone's maps.
NO_NECK = ("MODEL.NECK.NAME", "IdentityNeck")
PYRAMID = "detectors/retinanet_plain_rooms.yaml"


def loaded(cfg, file: Path | str) -> nn.Module:
    torch.manual_seed(1)
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(str(file))
    return model.eval()


def write_pth(state: dict, folder: Path) -> Path:
    torch.save(state, folder / "resnet18-f37072fd.pth")
    return folder / "resnet18-f37072fd.pth"


def write_safetensors(state: dict, folder: Path) -> Path:
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def write_wrapped(state: dict, folder: Path) -> Path:
    """As torchvision's and timm's training scripts do, from several GPUs."""
    parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": parallel, "epoch": 90}, folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


def assert_features_of(resnet: nn.Module, backbone: nn.Module) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = features_of(resnet, image)
        assert expected.std() > 0.1
        torch.testing.assert_close(backbone(image)["res5"], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("write", [write_pth, write_safetensors, write_wrapped])
def test_torchvision_resnet18_gives_torchvision_features(write, small_config, resnet18, tmp_path):
    file = write(resnet18.state_dict(), tmp_path)
    model = loaded(small_config(*TORCHVISION_SETTINGS, *NO_NECK), file)
    assert_features_of(resnet18, model.backbone)


def test_torchvision_resnet50_gives_torchvision_features(small_config, resnet50, tmp_path):
    # Torchvision strides in the 3 x 3 convolutions, and its batch normalisation can be frozen.
    cfg = small_config(
        *TORCHVISION_SETTINGS,
        *NO_NECK,
        *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256),
        *("MODEL.RESNETS.NORM", "FrozenBN"),
    )
    assert_features_of(resnet50, loaded(cfg, write_pth(resnet50.state_dict(), tmp_path)).backbone)


def test_pretrained_resnet_fills_the_bottom_of_a_pyramid(small_config, resnet18, tmp_path):
    file = write_pth(resnet18.state_dict(), tmp_path)
    model = loaded(small_config(*TORCHVISION_SETTINGS, name=PYRAMID), file)
    assert_features_of(resnet18, model.backbone.bottom_up)


def test_timm_network_of_a_pyramid_takes_timm_names(small_config, tmp_path):
    cfg = small_config(
        *("MODEL.BACKBONE.NAME", "build_retinanet_timm_fpn_backbone"),
        *("MODEL.TIMM.NAME", "resnet18", "MODEL.FPN.IN_FEATURES", ["s8", "s16", "s32"]),
        *("MODEL.RETINANET.IN_FEATURES", ["p3", "p4", "p5", "p6", "p7"]),
        name=PYRAMID,
    )
    torch.manual_seed(0)
    source = with_random_statistics(timm.create_model("resnet18"))
    net = loaded(cfg, write_pth(source.state_dict(), tmp_path)).backbone.bottom_up.net
    assert len(net.state_dict()) == 122 - 2  # Without the classifier.
    for name, value in net.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def caffe2_name(name: str) -> str:
    """From Detectron2's name of a ResNet's tensor to the one in MSRA/R-50.pkl."""
    stem = {
        "weight": "conv1_w",
        "norm.weight": "res_conv1_bn_gamma",
        "norm.bias": "res_conv1_bn_beta",
        "norm.running_mean": "res_conv1_bn_running_mean",
        "norm.running_var": "res_conv1_bn_running_var",
    }
    if name.startswith("stem.conv1."):
        return stem[name.removeprefix("stem.conv1.")]
    stage, block, layer, what = name.split(".", 3)
    branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[layer]
    end = {
        "weight": "w",
        "norm.weight": "bn_gamma",
        "norm.bias": "bn_beta",
        "norm.running_mean": "bn_running_mean",
        "norm.running_var": "bn_running_var",
    }[what]
    return f"{stage}_{block}_branch{branch}_{end}"


@pytest.fixture
def caffe2_arrays(small_config) -> dict[str, np.ndarray]:
    """A tiny R-50 with the classifier and the stem's bias that the real file has too."""
    backbone = build_model(small_config(*TINY_RESNET50)).backbone
    names = [caffe2_name(name) for name in backbone.state_dict()]
    assert len(set(names)) == 53 * 5
    rng = np.random.default_rng(0)
    shapes = [value.shape for value in backbone.state_dict().values()]
    arrays = {n: rng.random(s, dtype=np.float32) for n, s in zip(names, shapes, strict=True)}
    rest = {"conv1_b": (8,), "fc1000_w": (1000, 128), "fc1000_b": (1000,)}
    return arrays | {name: rng.random(shape, dtype=np.float32) for name, shape in rest.items()}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "wrap",
    [dict, lambda arrays: {"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}],
    ids=["flat", "wrapped"],
)
def test_caffe2_r50_is_found_where_detectron2_keeps_it(
    protocol, wrap, caffe2_arrays, small_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    file = tmp_path / "detectron2" / "ImageNetPretrained" / "MSRA" / "R-50.pkl"
    file.parent.mkdir(parents=True)
    with open(file, "wb") as stream:
        pickle.dump(wrap(caffe2_arrays), stream, protocol=protocol)
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    model = loaded(small_config(*TINY_RESNET50, *MSRA_SETTINGS), address)
    for name, value in model.backbone.state_dict().items():
        assert np.array_equal(value, caffe2_arrays[caffe2_name(name)]), name


@pytest.mark.parametrize("into_pyramid", [False, True])
def test_backbone_moves_into_a_pyramid_and_out_of_it(into_pyramid, small_config, tmp_path):
    ssd, pyramid = small_config(), small_config(name=PYRAMID)
    source = build_model(ssd if into_pyramid else pyramid)
    torch.save({"model": source.state_dict(), "iteration": 7}, tmp_path / "model_final.pth")
    model = loaded(pyramid if into_pyramid else ssd, tmp_path / "model_final.pth")
    stem = (model if into_pyramid else source).backbone.bottom_up
    bare = (source if into_pyramid else model).backbone
    for name, value in bare.state_dict().items():
        assert torch.equal(value, stem.state_dict()[name]), name


def test_other_shapes_stay_as_they_are_initialised(small_config, tmp_path, heard):
    cfg = small_config()
    state = build_model(cfg).state_dict()
    name = "head.cls_score.0.weight"
    torch.save({"model": state | {name: torch.zeros(96, 512, 3, 3)}}, tmp_path / "a.pth")
    model = loaded(cfg, tmp_path / "a.pth")
    assert f"{name} is (96, 512, 3, 3) in the file and" in heard.text
    assert model.state_dict()[name].std() > 0


def test_format_of_ones_own_is_asked_first(small_config, tmp_path):
    class Upside(WeightFormat):
        title = "weights with names upside down"

        def recognises(self, tensors, model_names):
            return any(name.endswith(".enobkcab") for name in tensors)

        def translate(self, tensors, model_names):
            return {name[::-1]: value for name, value in tensors.items()}

    cfg = small_config()
    state = build_model(cfg).state_dict()
    torch.save({name[::-1]: value for name, value in state.items()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="belong to no known layout"):
        loaded(cfg, tmp_path / "a.pth")
    WEIGHT_FORMATS.register(Upside)
    model = loaded(cfg, tmp_path / "a.pth")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_model_zoo_pickle_with_converted_torchvision_names(small_config, resnet18, tmp_path):
    def converted(name: str) -> str:
        for stage in (1, 2, 3, 4):
            name = name.replace(f"layer{stage}.", f"res{stage + 1}.")
        for layer in (1, 2):
            name = name.replace(f"bn{layer}.", f"conv{layer}.norm.")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        return name if name.startswith("res") else f"stem.{name}"

    arrays = {converted(n): x.numpy() for n, x in resnet18.state_dict().items()}
    with open(tmp_path / "R-18.pkl", "wb") as stream:
        content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        pickle.dump(content, stream)
    model = loaded(small_config(*TORCHVISION_SETTINGS), tmp_path / "R-18.pkl")
    assert torch.equal(model.backbone.stem.conv1.weight, resnet18.conv1.weight)
    shortcut = resnet18.layer4[0].downsample
    assert torch.equal(model.backbone.res5[0].shortcut.weight, shortcut[0].weight)
    assert torch.equal(model.backbone.res5[0].shortcut.norm.running_var, shortcut[1].running_var)


def test_unknown_layout_is_refused(small_config, tmp_path):
    cfg = small_config()
    torch.save({"blocks.0.attn.qkv.weight": torch.zeros(3)}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"vit\.pth: names such as blocks\.0\.attn\.qkv\.weight"):
        RockCheckpointer(cfg, model=build_model(cfg)).load(str(tmp_path / "vit.pth"))


def test_shipped_nyuv2_configs_fit_the_weights_that_they_name():
    cfg = model_zoo.get_config("rock_nyuv2.yaml")
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert (cfg.INPUT.FORMAT, cfg.MODEL.RESNETS.STRIDE_IN_1X1) == ("BGR", True)
    assert np.allclose(cfg.MODEL.PIXEL_MEAN, [103.53, 116.28, 123.675])
    assert cfg.MODEL.PIXEL_STD == [1.0, 1.0, 1.0]
    assert cfg.MODEL.RESNETS.NORM == "FrozenBN"
