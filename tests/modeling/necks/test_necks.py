"""Necks: baseline, flat multi-task learning and ROCK, built part by part."""

from functools import partial

import pytest
import torch
from detectron2.layers import ShapeSpec
from tiny import item, tiny_cfg
from torch.nn import functional as F

from rock_d2.modeling.necks.flat import FlatMTL
from rock_d2.modeling.fusions.fusion import build_fusion
from rock_d2.modeling.necks.neck import NECK_REGISTRY, IdentityNeck, build_neck
from rock_d2.modeling.necks.rock import ROCK
from rock_d2.tasks import Depth, Normals, Scene, build_tasks

SHAPE = {"other": ShapeSpec(channels=3, stride=8), "x": ShapeSpec(channels=8, stride=32)}
TASKS = (Normals(channels=6), Scene(num_classes=5), Depth(channels=4))


def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"other": torch.randn(2, 3, 12, 16), "x": torch.randn(2, 8, 3, 4)}


def rock(*, fusion: str = "SumFusion", tasks=TASKS, norm: str = "BN", **options) -> ROCK:
    torch.manual_seed(1)
    block = ROCK(
        input_shape=SHAPE,
        in_feature="x",
        tasks=tasks,
        width=7,
        norm=norm,
        fusion=build_fusion(
            fusion,
            out_channels=8,
            encoding_channels={task.name: task.channels for task in tasks},
            norm=norm,
        ),
        **options,
    )
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return block


def batch_norm(y: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def written_out(block: ROCK, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Equation 1 and the encodings by einsum alone."""
    reduce, mix = block.trunk
    y = torch.einsum("oi,nihw->nohw", reduce.weight[:, :, 0, 0], x)
    y = batch_norm(y, reduce.norm).clamp(min=0)
    height, width = x.shape[2:]
    y = F.pad(y, (1, 1, 1, 1)).unfold(2, height, 1).unfold(3, width, 1)
    y = torch.einsum("oikl,niklhw->nohw", mix.weight, y)
    y = batch_norm(y, mix.norm).clamp(min=0)
    refined, encodings = x, {}
    for name, encoder in block.encoders.items():
        e = torch.einsum("ki,nihw->nkhw", encoder.weight[:, :, 0, 0], y)
        encodings[name] = e + encoder.bias[:, None, None]
        decoder = block.fusion.decoders[name]
        d = torch.einsum("ck,nkhw->nchw", decoder.weight[:, :, 0, 0], encodings[name])
        refined = refined + batch_norm(d, decoder.norm).clamp(min=0)
    return refined, encodings


def test_rock_is_equations_1_and_2():
    block = rock().double().eval()
    inputs = {name: value.double() for name, value in features().items()}
    outputs, aux = block(inputs)
    refined, encodings = written_out(block, inputs["x"])
    torch.testing.assert_close(outputs["x"], refined, atol=1e-10, rtol=0)
    assert outputs["other"] is inputs["other"]
    assert encodings["scene"].min() < 0, "encodings must be linear"

    exact = {"atol": 1e-6, "rtol": 0, "check_dtype": False}
    torch.testing.assert_close(aux["scene"], encodings["scene"].sum((2, 3)) / 12, **exact)
    depth = sum(encodings["depth"][:, i : i + 1] for i in range(4)) / 4
    torch.testing.assert_close(aux["depth"], depth, **exact)
    x, y, z = (encodings["normals"][:, i] + encodings["normals"][:, i + 1] for i in (0, 2, 4))
    vectors = torch.stack([x, y, z], dim=1)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    torch.testing.assert_close(aux["normals"], unit, **exact)


def test_no_fusion_leaves_the_features_bit_identical():
    inputs = features()
    outputs, aux = rock(fusion="NoFusion")(inputs)
    assert outputs["x"] is inputs["x"]
    assert set(aux) == {"scene", "depth", "normals"}


def test_identity_neck_returns_what_it_got():
    inputs = features()
    neck = IdentityNeck(input_shape=SHAPE)
    outputs, aux = neck(inputs)
    assert outputs is inputs and aux == {}
    assert neck.losses(aux, {}) == {} and neck.inference(aux, [(5, 6)]) == [{}]


def test_flat_is_one_convolution_a_task():
    torch.manual_seed(3)
    neck = FlatMTL(input_shape=SHAPE, in_feature="x", tasks=TASKS)
    # Into 3, 5 and 1 maps from 8 channels, and as many biases.
    assert sum(p.numel() for p in neck.parameters()) == (3 + 5 + 1) * (8 + 1)
    inputs = features()
    outputs, aux = neck(inputs)
    assert outputs is inputs
    maps = {
        name: torch.einsum("ki,nihw->nkhw", head.weight[:, :, 0, 0], inputs["x"])
        + head.bias[:, None, None]
        for name, head in neck.heads.items()
    }
    torch.testing.assert_close(aux["depth"], maps["depth"])
    torch.testing.assert_close(aux["scene"], maps["scene"].mean(dim=(2, 3)))
    torch.testing.assert_close(
        aux["normals"], maps["normals"] / maps["normals"].norm(dim=1, keepdim=True)
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_predictors_hold_nothing(task):
    assert not task.predictor().state_dict() and not list(task.predictor().parameters())


flat = partial(FlatMTL, input_shape=SHAPE, in_feature="x", tasks=TASKS)


@pytest.mark.parametrize("build", [rock, flat], ids=["ROCK", "FlatMTL"])
def test_predictors_rest_where_tasks_are_not_asked_for(build):
    neck = build(predict_auxiliary=False)
    calls = []
    for module in neck.predictors.values():
        module.register_forward_hook(lambda *_: calls.append(1))
    refined, aux = neck.eval()(features())
    assert aux == {} and not calls
    assert neck.inference(aux, [(6, 8), (6, 8)]) == [{}, {}]
    with torch.no_grad():
        always, _ = build().eval()(features())
    torch.testing.assert_close(refined["x"], always["x"])
    neck.train()(features())
    assert len(calls) == 3, "training needs the predictions whatever the setting"


def test_losses_are_weighted_once():
    tasks = (Scene(num_classes=5, loss_weight=2.0), Depth(channels=4, loss_weight=0.0))
    neck = FlatMTL(input_shape=SHAPE, in_feature="x", tasks=tasks)
    batch = [item(0), item(1)]
    _, aux = neck(features())
    losses = neck.losses(aux, neck.collate(batch, torch.device("cpu")))
    assert list(losses) == ["loss_scene", "loss_depth"]
    expected = 2 * F.cross_entropy(aux["scene"], torch.tensor([0, 1]))
    torch.testing.assert_close(losses["loss_scene"], expected)
    assert losses["loss_depth"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.ROCK.TASKS", ["Scene", "Odour"]], r"MODEL\.ROCK\.TASKS.*Odour"),
        (["MODEL.ROCK.TASKS", ["Scene", "Scene"]], r"MODEL\.ROCK\.TASKS"),
        (["MODEL.ROCK.TASKS", []], r"MODEL\.ROCK\.TASKS is empty.*IdentityNeck"),
        (["MODEL.ROCK.FUSION.NAME", "MinFusion"], "MinFusion"),
        (["MODEL.ROCK.IN_FEATURE", "res4"], r"MODEL\.ROCK\.IN_FEATURE.*res4"),
        (["MODEL.NECK.NAME", "Throat"], "Throat"),
    ],
)
def test_bad_settings_are_refused(options, message):
    cfg = tiny_cfg("MODEL.NECK.NAME", "ROCK", *options)
    with pytest.raises((ValueError, KeyError), match=message):
        build_neck(cfg, {"res5": ShapeSpec(channels=8, stride=32)})


def test_tasks_keep_the_order_of_the_config():
    cfg = tiny_cfg("MODEL.ROCK.TASKS", ["Normals", "Depth"], "MODEL.ROCK.DEPTH.LOSS_WEIGHT", 0.5)
    assert build_tasks(cfg) == (Normals(channels=6), Depth(channels=4, loss_weight=0.5))
    assert "ROCK" in NECK_REGISTRY and "FlatMTL" in NECK_REGISTRY
