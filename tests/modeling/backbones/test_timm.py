"""Networks of timm as backbones: one protocol for one small network of each family."""

import copy

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from rock_d2.modeling.backbones import TimmBackbone, add_timm_config, timm_names

ALL = ("s4", "s8", "s16", "s32")
# By name: the channels of s4 ... s32, and the timm arguments of the same network.
FAMILIES = {
    "resnet18": ((64, 128, 256, 512), {}),
    "tf_efficientnet_lite0": ((24, 40, 112, 320), {}),
    "convnext_atto": ((40, 80, 160, 320), {}),
    "hrnet_w18_small_v2": ((18, 36, 72, 144), {"feature_location": ""}),
    "swin_tiny_patch4_window7_224": ((96, 192, 384, 768), {"strict_img_size": False}),
}
NORMALISED = [name for name in FAMILIES if not name.startswith(("convnext", "swin"))]


@pytest.fixture(scope="module")
def networks():
    """By name a backbone whose normalisations are not those of a new network."""
    torch.manual_seed(0)
    made = {name: TimmBackbone(name=name, out_features=ALL) for name in FAMILIES}
    norms = [m for net in made.values() for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        # New ones have a weight of 0 at the end of residual branches.
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.01, 0.5)
    return made


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


def images(height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def with_weights_of(backbone: TimmBackbone, **settings) -> TimmBackbone:
    other = TimmBackbone(**settings)
    other.load_state_dict(backbone.state_dict(), strict=False)
    return other


def test_declared_shapes_are_those_of_the_maps(networks, name):
    net = networks[name].eval()
    shapes = net.output_shape()
    assert {k: (v.channels, v.stride) for k, v in shapes.items()} == {
        f: (c, s) for f, c, s in zip(ALL, FAMILIES[name][0], (4, 8, 16, 32), strict=True)
    }
    # Sides that are no multiples of anything, unless the network asks for its multiples.
    d = net.size_divisibility or 1
    for height, width in ((64, 96), (-(-75 // d) * d, -(-93 // d) * d)):
        with torch.no_grad():
            maps = net(images(height, width))
        assert list(maps) == list(ALL)
        for feature, x in maps.items():
            assert x.shape[:2] == (2, shapes[feature].channels)
            for size, side in zip(x.shape[2:], (height, width), strict=True):
                # ConvNeXt drops what is left over, others round up.
                assert side // shapes[feature].stride <= size <= -(-side // shapes[feature].stride)


def test_the_maps_are_timms(networks, name):
    net = networks[name].eval()
    reference = timm.create_model(name, features_only=True, **FAMILIES[name][1]).eval()
    reference.load_state_dict({k[4:]: v for k, v in net.state_dict().items()})
    for module in reference.modules():
        if isinstance(module, nn.Upsample):
            # As HRNet's authors have it for dense tasks (mode "nearest" moves the maps by 10 %).
            module.mode, module.align_corners = "bilinear", False
    with torch.no_grad():
        expected = reference(images())[-4:]
        for x, y in zip(net(images()).values(), expected, strict=True):
            y = y.permute(0, 3, 1, 2) if name.startswith("swin") else y
            torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_a_file_of_timm_fits(networks, name):
    arguments = {} if name.startswith("hrnet") else FAMILIES[name][1]
    stored = timm.create_model(name, **arguments).state_dict()
    names = timm_names(stored, networks[name].state_dict().keys())
    own = networks[name].state_dict()
    assert set(names.values()) == own.keys()
    assert all(stored[key].shape == own[mapped].shape for key, mapped in names.items())
    # Left out is what comes after the last map.
    late = ("conv_head", "bn2", "fc", "classifier", "head", "norm", "incre", "downsamp", "final")
    assert all(key.startswith(late) for key in stored.keys() - names)


@pytest.mark.parametrize("features", [ALL, ("s4", "s8")])
def test_every_trained_parameter_gets_a_gradient(name, features):
    # One without would stop DistributedDataParallel.
    net = TimmBackbone(name=name, out_features=features).train()
    sum(x.square().mean() for x in net(images()).values()).backward()
    gradients = [p.grad for p in net.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# Of the stem and the first stage: names of timm that begin so.
FROZEN = {
    "resnet18": ("conv1.", "bn1.", "layer1."),
    "tf_efficientnet_lite0": ("conv_stem.", "bn1.", "blocks.0."),
    "convnext_atto": ("stem_", "stages_0."),
    "hrnet_w18_small_v2": ("conv1.", "bn1.", "conv2.", "bn2.", "layer1."),
    "swin_tiny_patch4_window7_224": ("patch_embed.", "layers_0."),
}


def test_freeze_at_2_freezes_the_stem_and_the_first_stage(networks, name):
    net = with_weights_of(networks[name], name=name, out_features=ALL, freeze_at=2).train()
    before = copy.deepcopy(net.state_dict())
    parameters = {key[4:]: p for key, p in net.named_parameters()}
    optimizer = torch.optim.SGD([p for p in parameters.values() if p.requires_grad], lr=0.1)
    sum(x.square().mean() for x in net(images()).values()).backward()
    optimizer.step()
    moved = {key[4:] for key, x in net.state_dict().items() if not torch.equal(x, before[key])}
    assert not any(key.startswith(FROZEN[name]) for key in moved)
    trained = {key for key, p in parameters.items() if p.requires_grad}
    assert trained == {key for key in parameters if not key.startswith(FROZEN[name])}
    statistics = {key[4:] for key in before if key.endswith(("running_mean", "running_var"))}
    assert {key for key in statistics if not key.startswith(FROZEN[name])} <= moved


@pytest.mark.parametrize("name", NORMALISED)
def test_frozen_normalisation_computes_the_same(networks, name):
    # EfficientNet-Lite has eps = 1e-3 and activations inside its normalisation.
    net = networks[name].eval()
    frozen = with_weights_of(net, name=name, out_features=ALL, norm="FrozenBN").train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())
    with torch.no_grad():
        for x, y in zip(frozen(images()).values(), net(images()).values(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5 * y.abs().max().item())


def test_synchronised_normalisation_replaces_what_is_not_frozen():
    net = TimmBackbone(name="resnet18", out_features=ALL, norm="SyncBN", freeze_at=1).net
    assert isinstance(net.layer1[0].bn1, nn.SyncBatchNorm)
    assert isinstance(net.bn1, FrozenBatchNorm2d)


@pytest.mark.parametrize(("stride", "size"), [(16, 4), (8, 8)])
def test_dilation_keeps_the_deepest_maps_large(stride, size):
    feature = f"s{stride}"
    net = TimmBackbone(name="resnet18", out_features=["s4", feature], output_stride=stride).eval()
    # The last stage with its 512 channels.
    assert net(images())[feature].shape == (2, 512, size, size)
    assert net.output_shape()[feature].channels == 512


def config(*options):
    cfg = get_cfg()
    add_timm_config(cfg)
    cfg.merge_from_list(["MODEL.TIMM.NAME", "tf_efficientnet_lite0", *options])
    return cfg


@pytest.mark.parametrize(
    ("builder", "features", "levels"),
    [
        ("build_timm_fpn_backbone", ["s4", "s8", "s16", "s32"], {"p2", "p3", "p4", "p5", "p6"}),
        ("build_timm_fpn_backbone", ["s8", "s16"], {"p3", "p4", "p5"}),
        ("build_retinanet_timm_fpn_backbone", ["s8", "s16", "s32"], {"p3", "p4", "p5", "p6", "p7"}),
    ],
)
def test_pyramids(builder, features, levels):
    options = ("MODEL.TIMM.OUT_FEATURES", features, "MODEL.FPN.IN_FEATURES", features)
    net = build_backbone(config("MODEL.BACKBONE.NAME", builder, *options)).eval()
    with torch.no_grad():
        maps = net(images(64, 128))
    assert maps.keys() == net.output_shape().keys() == levels
    for level, x in maps.items():
        stride = net.output_shape()[level].stride
        assert x.shape == (2, 256, max(64 // stride, 1), 128 // stride)


@pytest.mark.parametrize(
    ("selected", "trained"),
    [(["p3"], {"fpn_output3"}), (["p6", "p4"], {"fpn_output4", "fpn_output5"})],
)
def test_a_pyramid_of_some_levels_is_that_of_all_and_trains_whole(selected, trained):
    options = ("MODEL.BACKBONE.NAME", "build_timm_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 8)
    options += ("MODEL.FPN.IN_FEATURES", ["s8", "s16", "s32"])
    whole = build_backbone(config(*options)).eval()
    net = build_backbone(config(*options, "MODEL.FPN.OUT_FEATURES", selected)).eval()
    net.load_state_dict(whole.state_dict())
    expected, maps = whole(images()), net(images())
    assert list(maps) == list(net.output_shape()) == selected
    assert all(torch.equal(maps[name], expected[name]) for name in selected)
    sum(x.square().mean() for x in maps.values()).backward()
    parameters = [(key, p) for key, p in net.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for _, p in parameters)
    assert {k.partition(".")[0] for k, _ in parameters if k.startswith("fpn_output")} == trained


def test_settings_reach_the_network():
    cfg = config("MODEL.BACKBONE.NAME", "TimmBackbone", "MODEL.TIMM.OUT_FEATURES", ["s8"])
    net = build_backbone(cfg, ShapeSpec(channels=4))
    assert net(torch.rand(1, 4, 64, 64))["s8"].shape == (1, 40, 8, 8)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"name": "resnet0"}, "MODEL.TIMM.NAME"),
        ({"out_features": ["s64"]}, "MODEL.TIMM.OUT_FEATURES"),
        ({"freeze_at": 6}, "MODEL.TIMM.FREEZE_AT"),
        ({"norm": "GN"}, "MODEL.TIMM.NORM"),
        ({"name": "convnext_atto", "norm": "FrozenBN"}, "MODEL.TIMM.NORM"),
        ({"name": "hrnet_w18_small_v2", "output_stride": 16}, "MODEL.TIMM.OUTPUT_STRIDE"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, setting):
    with pytest.raises(ValueError, match=setting):
        TimmBackbone(**{"name": "resnet18", "out_features": ALL} | settings)


def test_hrnet_has_its_authors_momentum(networks):
    net = networks["hrnet_w18_small_v2"]
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def create(name, *, pretrained, **arguments):
        raise OSError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(OSError, match=r"MODEL\.TIMM\.PRETRAINED.*MODEL\.WEIGHTS") as error:
        TimmBackbone(name="resnet18", out_features=ALL, pretrained=True)
    assert "\n" not in str(error.value)
