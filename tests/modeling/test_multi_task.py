"""Any detector with any neck: the laws of MultiTask."""

import copy
import pickle
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from tiny import DETECTORS, LABELS, SIZE, detector_cfg, item, on_meta, tiny_cfg
from torch import nn
from torch.nn import functional as F

from rock_d2 import model_zoo
from rock_d2.modeling.multi_task import refined_part

ALL = ("ssd", *DETECTORS)
# Every box is a detection, so that there is something to compare.
NODES = ("SSD", "RETINANET", "FCOS", "ROI_HEADS")
EAGER = [part for node in NODES for part in (f"MODEL.{node}.SCORE_THRESH_TEST", 0.0)]
ROCK = ("MODEL.NECK.NAME", "ROCK")
FLAT = ("MODEL.NECK.NAME", "FlatMTL")
PYRAMID = (
    *("MODEL.NECK.AT", "backbone", "MODEL.ROCK.IN_FEATURES", ["p3", "p4", "p5"]),
    *("MODEL.ROCK.SHARED_TRUNK", True),
)
each_detector = pytest.mark.parametrize("name", ALL)


def build(name: str, *options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(detector_cfg(name, *EAGER, *options))


def bare(name: str) -> nn.Module:
    """The detector without MultiTask."""
    cfg = detector_cfg(name, *EAGER)
    torch.manual_seed(0)
    cfg.MODEL.META_ARCHITECTURE = cfg.MODEL.DETECTOR
    return build_model(cfg)


def losses_of(model: nn.Module, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    # R-CNN draws proposals, and detectors count what they do.
    torch.manual_seed(0)
    with EventStorage(0):
        return model.train()(copy.deepcopy(batch))


def outputs_of(model: nn.Module, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs with the objects' fields as tensors."""
    with torch.no_grad():
        outputs = model.eval()(copy.deepcopy(batch))
    for output in outputs:
        for name, field in (
            output.pop("instances").get_fields().items() if "instances" in output else ()
        ):
            output[name] = field.tensor if name == "pred_boxes" else field
    return outputs


def assert_equal(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@each_detector
def test_losses_are_finite_in_half_precision(name):
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(build(name, "MODEL.NECK.NAME", "ROCK"), [item(0), item(1)])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


@each_detector
def test_with_the_identity_the_detector_is_the_bare_one_bit_for_bit(name):
    model, alone = build(name, "MODEL.NECK.NAME", "IdentityNeck"), bare(name)
    assert_equal(dict(model.state_dict()), dict(alone.state_dict()))
    batch = [item(0), item(1, size=(64, 96)) | {"height": 128, "width": 192}]
    assert_equal(losses_of(model, batch), losses_of(alone, batch))
    found = outputs_of(model, batch)
    assert_equal(found, outputs_of(alone, batch))
    assert all(len(image["scores"]) > 0 for image in found)


@each_detector
def test_checkpoints_go_both_ways(name, tmp_path):
    model, alone = build(name, *ROCK), bare(name)
    for parameter in alone.parameters():
        nn.init.normal_(parameter, std=0.01)
    neck = {key for key in model.state_dict() if key.startswith("neck.")}
    assert neck and list(alone.state_dict()) == [k for k in model.state_dict() if k not in neck]
    DetectionCheckpointer(alone, str(tmp_path)).save("alone")
    DetectionCheckpointer(model).load(str(tmp_path / "alone.pth"))
    assert_equal(dict(model.detector.state_dict()), dict(alone.state_dict()))
    other = bare(name)
    found = other.load_state_dict(model.state_dict(), strict=False)
    assert (found.missing_keys, set(found.unexpected_keys)) == ([], neck)
    assert_equal(dict(other.state_dict()), dict(alone.state_dict()))


def test_strict_loading_names_what_is_missing_as_the_detector_does():
    model, alone = build("retinanet", *ROCK), bare("retinanet")
    with pytest.raises(RuntimeError, match="Missing") as error:
        model.load_state_dict({"backbone.other": torch.zeros(1)})
    assert '"backbone.other"' in str(error.value) and '"neck.' in str(error.value)
    assert all(f'"{key}"' in str(error.value) for key, _ in alone.named_parameters())
    model.load_state_dict(model.state_dict())
    wrapped = nn.Sequential(model)
    assert list(wrapped.state_dict()) == [f"0.{key}" for key in model.state_dict()]
    wrapped.load_state_dict(wrapped.state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_a_neck_of_its_own(copied):
    model, batch = build("retinanet", *ROCK), [item(0)]
    other = copied(model)
    expected = outputs_of(model, batch)
    assert_equal(outputs_of(other, batch), expected)
    assert list(other.state_dict()) == list(model.state_dict())
    other.load_state_dict({key: torch.ones_like(x) for key, x in other.state_dict().items()})
    assert_equal(outputs_of(model, batch), expected)


@pytest.mark.parametrize("options", [ROCK, (*ROCK, *PYRAMID)], ids=["res5", "p3-p5"])
@each_detector
def test_a_step_reaches_every_parameter(name, options):
    if name == "ssd" and PYRAMID[0] in options:
        pytest.skip("has no pyramid")
    model = build(name, *options)
    expected = {*losses_of(bare(name), [item(0), item(1)]), *(f"loss_{task}" for task in LABELS)}
    empty = [item(seed, objects=0, labels=()) for seed in (2, 3)]
    for batch in ([item(0), item(1)], empty):
        losses = losses_of(model, batch)
        assert losses.keys() == expected
        model.zero_grad()
        sum(losses.values()).backward()
        for path, parameter in model.named_parameters():
            assert not parameter.requires_grad or parameter.grad is not None, path
            assert parameter.grad is None or parameter.grad.isfinite().all(), path


def by_patches(model: nn.Module, options: tuple) -> nn.Module:
    """Make features of patches, which see no padding beside them; a padded patch is zero."""
    part = refined_part(model.detector, "backbone" if PYRAMID[1] in options else "bottom_up")

    def features(images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for name, shape in part.output_shape().items():
            mix = torch.randn(shape.channels, 3, 1, 1, generator=torch.Generator().manual_seed(0))
            patches = F.avg_pool2d(images, shape.stride, ceil_mode=True, count_include_pad=False)
            maps[name] = F.conv2d(patches, mix)
        return maps

    part.forward = features
    for name, parameter in model.neck.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("options", [ROCK, FLAT, (*ROCK, *PYRAMID)], ids=["res5", "flat", "p3-p5"])
def test_images_of_a_batch_are_predicted_as_alone(options):
    model = by_patches(build("retinanet", *options), options)
    # The last one ends within a cell of res5.
    batch = [item(i, size=size) for i, size in enumerate([(128, 160), (64, 96), (80, 100)])]
    batch[1] |= {"height": 96, "width": 144}
    together = outputs_of(model, batch)
    for image, output in zip(batch, together, strict=True):
        (alone,) = outputs_of(model, [image])
        for task in LABELS:
            torch.testing.assert_close(output[task], alone[task], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [ROCK, FLAT, (*ROCK, *PYRAMID)], ids=["res5", "flat", "p3-p5"])
def test_padding_has_no_loss(options):
    model = by_patches(build("retinanet", "MODEL.ROCK.NORM", "", *options), options)
    small, large = item(0, size=(64, 96)), item(1, labels=())
    together, alone = losses_of(model, [small, large]), losses_of(model, [small])
    for task in LABELS:
        torch.testing.assert_close(together[f"loss_{task}"], alone[f"loss_{task}"])


def unknown(batch_item: dict[str, Any]) -> dict[str, Any]:
    """The item without its boxes."""
    return {key: value for key, value in batch_item.items() if key != "instances"}


# It sees all images.
WITHOUT_BATCH_NORM = (
    *("MODEL.ROCK.NORM", "", "MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FPN.NORM", ""),
)


@each_detector
def test_images_with_unknown_boxes_teach_the_tasks_alone(name):
    whole = [item(0), item(1), item(2), item(3)]
    mixed = [unknown(whole[0]), whole[1], unknown(whole[2]), whole[3]]
    found, everything, boxed = (
        losses_of(build(name, *ROCK, *WITHOUT_BATCH_NORM), batch)
        for batch in (mixed, whole, whole[1::2])
    )
    assert found.keys() == everything.keys()
    for key, loss in found.items():
        expected = everything if key.removeprefix("loss_") in LABELS else boxed
        torch.testing.assert_close(loss, expected[key], rtol=1e-5, atol=1e-6)


@each_detector
def test_without_any_known_box_the_detector_has_zero_gradients(name):
    model = build(name, *ROCK)
    expected = losses_of(model, [item(0), item(1)])
    average = getattr(model.detector, "loss_normalizer", None)
    losses = losses_of(model, [unknown(item(0)), unknown(item(1))])
    assert losses.keys() == expected.keys()
    assert getattr(model.detector, "loss_normalizer", None) == average
    sum(losses.values()).backward()
    for path, parameter in model.detector.named_parameters():
        if parameter.requires_grad and not path.startswith("backbone."):
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), path
    assert all(p.grad.any() for path, p in model.neck.named_parameters() if "encoders" in path)


def test_a_larger_image_with_unknown_boxes_does_not_enlarge_the_others():
    small, large = item(0, size=(64, 96)), unknown(item(1))
    together, alone = (
        losses_of(by_patches(build("retinanet", *ROCK, *WITHOUT_BATCH_NORM), ROCK), batch)
        for batch in ([large, small], [small])
    )
    for key in alone.keys() - {f"loss_{task}" for task in LABELS}:
        torch.testing.assert_close(together[key], alone[key], rtol=1e-4, atol=0)


def test_tasks_alone():
    options = ("MODEL.DETECTOR", "", "MODEL.TASKS.MAIN", ["Depth"])
    options += ("MODEL.TASKS.AUXILIARY", ["Scene"])
    batch = [item(0), item(1, size=(64, 96)) | {"height": 128, "width": 192}]
    model = build("retinanet", *FLAT, *options)
    losses = losses_of(model, batch)
    assert losses.keys() == {"loss_depth", "loss_scene"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.neck.parameters())
    first, second = outputs_of(model, batch)
    assert first.keys() == second.keys() == {"depth", "scene"}
    assert (first["depth"].shape, second["depth"].shape) == ((1, *SIZE), (1, 128, 192))
    model = build("retinanet", *FLAT, *options, "MODEL.TASKS.PREDICT_AUXILIARY", False)
    assert [output.keys() for output in outputs_of(model, batch)] == [{"depth"}, {"depth"}]


def test_rock_adds_the_papers_parameters():
    # C = 2048, 512 in the trunk, K = 27 + 128 + 384 = 539, and batch normalisation's 2 a channel:
    # 2048 * 512 + 512 * 512 * 9 + 4 * 512 (trunk) + 513 * 539 (encoders, with biases)
    # + 539 * 2048 + 3 * 2 * 2048 (decoders) = 4 802 587.
    counts = []
    for name in ("rock/ssd_nyuv2.yaml", "rock_nyuv2.yaml"):
        model = on_meta(model_zoo.get_config(name))
        counts.append(sum(p.numel() for p in model.parameters()))
    assert counts[1] - counts[0] == 4_802_587


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        # Not a pyramid, and not a place.
        *(("MODEL.NECK.AT", value) for value in ("bottom_up", "head")),
        ("MODEL.NECK.NAME", "Throat"),
        *(("MODEL.DETECTOR", value) for value in ("MultiTask", "SDD", "PanopticFPN")),
        # Unknown, twice, and none.
        *(("MODEL.TASKS.AUXILIARY", names) for names in (["Odour"], ["Depth", "Depth"], [])),
        ("MODEL.TASKS.COMPARE_AT", "both"),
        ("MODEL.TASKS.NORMALS.CHANNELS", 8),
        *(("MODEL.ROCK.IN_FEATURES", names) for names in (["res4"], [])),
        ("MODEL.ROCK.WIDTH", 0),
        ("MODEL.ROCK.NORM", "MN"),
        ("MODEL.ROCK.FUSION.NAME", "MinFusion"),
        ("MODEL.ROCK.FUSION.SWITCHED_OFF", ["Odour"]),
        *(("MODEL.ROCK.GIVEN", names) for names in (["Odour"], ["Depth", "Depth"])),
    ],
)
def test_settings_that_make_no_sense_are_named(setting, value):
    with pytest.raises(ValueError, match=rf"MODEL\..*{setting.rpartition('.')[2]}"):
        on_meta(tiny_cfg(*ROCK, setting, value))


def test_neither_a_detector_nor_tasks_learn_nothing():
    with pytest.raises(ValueError, match=r"MODEL.DETECTOR is '' and .*IdentityNeck: nothing"):
        on_meta(tiny_cfg("MODEL.DETECTOR", ""))


def test_a_neck_that_takes_no_labels_says_so():
    options = ("MODEL.NECK.NAME", "FlatMTL", "MODEL.ROCK.GIVEN", ["Depth"])
    with pytest.raises(ValueError, match=r"MODEL.ROCK.GIVEN is \['Depth'\], but FlatMTL takes no"):
        on_meta(tiny_cfg(*options))
