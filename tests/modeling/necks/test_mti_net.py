"""Laws of MTI-Net, PAD-Net and their baselines."""

from functools import partial
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from tiny import base_cfg, item, with_random_norms

from rock_d2.modeling.fusions import NoFusion, SumFusion
from rock_d2.modeling.necks import HeadsNeck, MTINet, PADNet
from rock_d2.modeling.necks.blocks import join
from rock_d2.modeling.necks.distillation import Distillation
from rock_d2.modeling.necks.heads import FPNHead, HRNetHead
from rock_d2.modeling.necks.propagation import FeaturePropagation
from rock_d2.tasks import Depth, Normals

SHAPES = {f"s{2**i}": ShapeSpec(channels=8 + 2 * i, stride=2**i) for i in (2, 3, 4)}
FORM = {
    "input_shape": SHAPES,
    "in_features": list(SHAPES),
    "tasks": (Depth(), Normals()),
    "num_main": 1,
    "compare_at": "label",
}
HEAD = {"head": partial(HRNetHead, norm="BN")}
TASKS = ("a", "b", "c")
WIDTH = 8


def maps() -> dict[str, torch.Tensor]:
    """Of images of 96 x 128 pixels."""
    torch.manual_seed(0)
    return {
        n: torch.randn(2, s.channels, 96 // s.stride, 128 // s.stride) for n, s in SHAPES.items()
    }


def propagation(tasks: tuple[str, ...], softmax: str = "tasks") -> FeaturePropagation:
    torch.manual_seed(1)
    fpm = FeaturePropagation(tasks=tasks, channels=WIDTH, softmax=softmax, norm="BN")
    return with_random_norms(fpm).eval()


def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return {task: torch.randn(2, WIDTH, 3, 4) for task in TASKS}


@pytest.mark.parametrize("softmax", ["tasks", "channels"])
def test_attention_sums_to_1(softmax):
    mask = propagation(TASKS, softmax).mask(torch.randn(2, 3 * WIDTH, 3, 4))
    by_task = mask.unflatten(1, (3, WIDTH))
    by_run = mask.unflatten(1, (WIDTH, 3))
    sums = by_task.sum(dim=1) if softmax == "tasks" else by_run.sum(dim=2)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert mask.min() > 0 and mask.std() > 0.01


def test_propagation_is_its_formula():
    fpm, given = propagation(TASKS), features()
    x = torch.cat([given[task] for task in TASKS], dim=1)
    shared = fpm.shared(fpm.mask(x) * x)
    for task, found in fpm(given).items():
        block = fpm.excite[task]
        squeezed = block.squeeze(shared.mean(dim=(2, 3))).clamp(min=0)
        scale = block.excite(squeezed).sigmoid()[:, :, None, None]
        torch.testing.assert_close(found, shared * scale + given[task])


def test_padding_has_no_share_in_the_initial_features():
    torch.manual_seed(0)
    neck = with_random_norms(MTINet(**FORM, **HEAD, fusion=NoFusion)).eval()
    whole, part = (neck.encode(maps(), e)["s4"]["depth"] for e in (None, [(0.5, 0.5)] * 2))
    assert not torch.allclose(whole, part, rtol=1e-3)


def test_another_order_of_the_tasks_permutes_channels_only():
    order = (2, 0, 1)
    fpm, other = propagation(TASKS), propagation(tuple(TASKS[i] for i in order))
    # The dimension of each weight that has the joined channels.
    joined = {"attention.2.weight": 0, "attention.2.bias": 0}
    for block in ("attention.0", "shared"):
        joined |= {f"{block}.{conv}.weight": 1 for conv in ("conv1", "shortcut")}
    state = fpm.state_dict()
    for name, dim in joined.items():
        blocks = state[name].split(WIDTH, dim=dim)
        state[name] = torch.cat([blocks[i] for i in order], dim=dim)
    other.load_state_dict(state)
    torch.testing.assert_close(other(features()), fpm(features()))


def test_distillation_of_one_task_is_the_identity():
    alone = Distillation(receivers=["a"], tasks=["a"], channels=WIDTH)
    assert list(alone.parameters()) == []
    assert torch.equal(alone(features())["a"], features()["a"])


@pytest.mark.parametrize("fpm", [True, False])
def test_a_task_alone_is_learned_at_every_scale_and_finished(fpm):
    neck = MTINet(**{**FORM, "tasks": (Depth(),)}, **HEAD, fpm=fpm, fusion=NoFusion)
    refined, predictions = neck(maps())
    assert [tuple(p.shape[2:]) for p in predictions["depth"]] == [(6, 8), (12, 16), *[(24, 32)] * 2]
    assert all(torch.equal(refined[name], x) for name, x in maps().items())


@pytest.mark.parametrize(
    ("neck", "counts"),
    [
        (MTINet(**FORM, **HEAD, fusion=NoFusion), (4, 3)),
        (PADNet(**FORM, width=16, fusion=NoFusion), (2, 1)),
        (HeadsNeck(**FORM, **HEAD), (1, 1)),
    ],
    ids=["MTINet", "PADNet", "HeadsNeck"],
)
def test_an_image_without_a_label_has_no_gradient_at_any_scale(neck, counts):
    batch = [item(0, labels=["depth"]), item(1, labels=["normals"])]
    predictions = neck.train()(maps())[1]
    losses = neck.losses(
        predictions, neck.collate(batch, size=(96, 128), device=torch.device("cpu"))
    )
    for task, known, count in zip(("depth", "normals"), (0, 1), counts, strict=True):
        gradients = torch.autograd.grad(
            losses[f"loss_{task}"], predictions[task], retain_graph=True
        )
        assert len(gradients) == count
        for gradient in gradients:
            assert gradient[known].abs().sum() > 0
            assert not gradient[1 - known].any()


def test_normals_are_enlarged_before_they_get_their_length():
    neck = HeadsNeck(**{**FORM, "tasks": (Normals(),)}, **HEAD)
    raw, label = torch.randn(1, 3, 3, 4), torch.nn.functional.normalize(torch.randn(1, 3, 12, 16))
    enlarged = torch.nn.functional.interpolate(raw, size=(12, 16), mode="bilinear")
    assert neck.activate({"normals": raw}, None)["normals"] is raw
    wanted = Normals().loss_weight * Normals().loss(Normals().activation(enlarged), label)
    torch.testing.assert_close(
        neck.losses({"normals": [raw]}, {"normals": label}), {"loss_normals": wanted}
    )


def test_padding_has_no_share_in_squeeze_and_excitation():
    fpm, x = propagation(TASKS), features()
    alone = fpm.excite["a"](x["a"][:, :, :2, :3])
    padded = fpm.excite["a"](x["a"], [(2 / 3, 3 / 4)] * 2)
    torch.testing.assert_close(padded[:, :, :2, :3], alone)


def test_every_tasks_features_reach_the_detectors_maps():
    """X_s + sum over tasks of Dec_ts(o_ts), those of auxiliary tasks, too."""
    torch.manual_seed(3)
    neck = MTINet(**{**FORM, "num_main": 0}, **HEAD, fusion=SumFusion).eval()
    refined, _ = neck(maps())
    encodings = neck.encode(maps())
    for scale, x in maps().items():
        distilled = neck.distillation[scale](encodings[scale])
        decoders = neck.fusion[scale].decoders
        wanted = (
            x + decoders["depth"](distilled["depth"]) + decoders["normals"](distilled["normals"])
        )
        torch.testing.assert_close(refined[scale], wanted)


@pytest.mark.parametrize("scale", [*SHAPES, ""])
def test_initial_predictions_of_a_scale_are_evaluated(scale):
    neck = MTINet(**FORM, **HEAD, fusion=NoFusion)
    expected = [neck.eval()(maps())[1]["depth"][i] for i in (2, 1, 0, 3)]
    neck.evaluate_scale = scale
    found = neck(maps())[1]["depth"]
    wanted = dict(zip([*SHAPES, ""], expected, strict=True))[scale]
    assert torch.equal(found[-1], wanted) and len(neck.train()(maps())[1]["depth"]) == 4
    outputs = neck.eval().inference({"depth": found}, [(96, 128)] * 2)
    assert outputs[0]["depth"].shape == (1, 96, 128)


def test_heads_of_pyramids_take_maps_of_odd_sizes():
    shapes = {f"s{s}": ShapeSpec(channels=8, stride=s) for s in (4, 8, 16, 32)}
    head = FPNHead(input_shape=shapes, num_outputs=5, width=16, norm="")
    # Of 100 x 72 pixels.
    sizes = ((25, 18), (13, 9), (7, 5), (4, 3))
    maps = {name: torch.rand(1, 8, *size) for name, size in zip(shapes, sizes, strict=True)}
    assert head(maps).shape == (1, 5, 25, 18)
    maps = {f"s{s}": torch.rand(1, 8, 128 // s, 96 // s) for s in (4, 8, 16, 32)}
    torch.testing.assert_close(head(maps), head.layers(maps))


def wrong(**changed: Any) -> Any:
    return MTINet(**{**FORM, **HEAD, "fusion": NoFusion, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"in_features": []}, "MODEL.MTI.IN_FEATURES"),
        ({"width": -1}, "MODEL.MTI.WIDTH is -1"),
        ({"norm": "GN"}, "MODEL.MTI.NORM"),
        ({"fpm_softmax": "pixels"}, "MODEL.MTI.FPM_SOFTMAX is 'pixels'"),
        ({"fpm_order": ["depth"]}, "MODEL.MTI.FPM_ORDER"),
        ({"evaluate_scale": "s32"}, "MODEL.MTI.EVALUATE_SCALE is 's32'"),
    ],
)
def test_settings_without_sense_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        wrong(**changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("MODEL.TASKS.AUXILIARY", ["Depth"]),
            "MODEL.TASKS.MAIN and MODEL.DETECTOR are both empty",
        ),
        (("MODEL.MTI.HEAD", "unet"), "MODEL.MTI.HEAD is 'unet'"),
        (
            (
                *("MODEL.DETECTOR", "SSD", "MODEL.SSD.NUM_CLASSES", 3),
                *("MODEL.MTI.FUSION.NAME", "ContextFusion"),
            ),
            "MODEL.MTI.FUSION.NAME: ContextFusion passes no gradient",
        ),
    ],
)
def test_configs_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(base_cfg("MODEL.NECK.NAME", "MTINet", "MODEL.DETECTOR", "", *options))


def test_pad_net_is_its_formula():
    torch.manual_seed(0)
    neck = with_random_norms(PADNet(**FORM, width=16, fusion=NoFusion)).eval()
    x = neck.mix(join([maps()[scale] for scale in neck.scales]))
    f = {task: blocks(x) for task, blocks in neck.initial.items()}
    message = neck.distillation.receivers["depth"].decoders["normals"]
    # o_k = f_k + sum over the others of sigmoid(W f_l) * (W' f_l).
    o = f["depth"] + message.gate(f["normals"]).sigmoid() * message.message(f["normals"])
    initial = neck.predictors["depth"](f["depth"])
    final = neck.heads["depth"](neck.refinement["depth"](o))
    neck.predict_auxiliary = True
    _, predictions = neck(maps())
    torch.testing.assert_close(predictions["depth"], [initial, final])
    normals = neck.predictors["normals"](f["normals"])
    torch.testing.assert_close(predictions["normals"], [normals])
