"""True labels in place of predictions (MODEL.ROCK.GIVEN), in any detector, for some images."""

from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from tiny import DETECTORS, detector_cfg, item
from torch import nn

ROCK = ("MODEL.NECK.NAME", "ROCK")
GIVEN = ("MODEL.ROCK.GIVEN", ["Depth", "Scene", "Normals"])


def build(name: str, *options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(detector_cfg(name, *ROCK, "MODEL.FCOS.NORM", "", *options)).eval()


def seen(model: nn.Module, *batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return X as the detector gets it, and the predicted depth."""
    found = []
    hook = model.neck.register_forward_hook(lambda neck, x, output: found.append(output))
    model(batch)
    hook.remove()
    ((features, predictions),) = found
    return features["res5"], predictions["depth"][-1]


@pytest.mark.parametrize("name", ["ssd", *DETECTORS])
def test_decoders_take_the_labels_of_given_tasks_where_they_are_known(name):
    model, unlabelled = build(name, *GIVEN), item(2, labels=())
    assert torch.equal(seen(model, unlabelled)[0], seen(build(name), unlabelled)[0])
    whole, half = item(0), item(1)
    # Of the three rows of X the upper two have no depth.
    half["depth"][:, :64] = 0
    (x, depth), (before, _) = seen(model, whole), seen(model, half)
    encoders = list(model.neck.encoders.parameters())
    settings = {"allow_unused": True, "materialize_grads": True}
    gradients = torch.autograd.grad(x.sum(), encoders, retain_graph=True, **settings)
    assert not any(gradient.any() for gradient in gradients)
    # The tasks are still learnt.
    gradients = torch.autograd.grad(depth.sum(), encoders, **settings)
    assert any(gradient.any() for gradient in gradients)
    nn.init.normal_(model.neck.encoders["res5"]["depth"].weight)
    assert torch.equal(seen(model, whole)[0], x)
    after, _ = seen(model, half)
    assert torch.equal(after[:, :, 2:], before[:, :, 2:])
    assert not torch.equal(after[:, :, :2], before[:, :, :2])


def test_an_image_is_changed_by_its_own_labels_alone():
    model, without = build("ssd", *GIVEN), build("ssd")
    both, none = (item(0), item(1, labels=())), (item(0, labels=()), item(1, labels=()))
    (x, _), (plain, _) = seen(model, *both), seen(without, *none)
    assert torch.equal(x[1], plain[1]) and not torch.equal(x[0], plain[0])
    outputs, expected = model(both), without(none)
    assert torch.equal(outputs[1]["instances"].scores, expected[1]["instances"].scores)
    assert not torch.equal(outputs[0]["instances"].scores, expected[0]["instances"].scores)


@pytest.mark.parametrize("probability", [-0.1, 50.0])
def test_a_chance_is_a_share(probability):
    with pytest.raises(ValueError, match=r"GIVEN_PROBABILITY is .*; it must be from 0 to 1"):
        build("ssd", *GIVEN, "MODEL.ROCK.GIVEN_PROBABILITY", probability)


def test_labels_are_given_by_chance_in_training():
    neck = build("ssd", *GIVEN, "MODEL.ROCK.GIVEN_PROBABILITY", 0.25).neck
    label = torch.zeros(4000, 1)
    assert neck.chosen(label).all()
    chosen = neck.train().chosen(label)
    # Its deviation is 0.0068.
    assert chosen.shape == (4000, 1, 1, 1) and abs(chosen.float().mean() - 0.25) < 0.035
    features = {"res5": torch.randn(2, neck.trunk["res5"][0].in_channels, 3, 4)}
    labels = neck.collate([item(0), item(1)], size=(96, 128), device=torch.device("cpu"))
    refined = {}
    for probability in (1e-9, 0.5, 1.0):
        neck.given_probability = probability
        torch.manual_seed(1)
        refined[probability] = [neck(features, None, labels)[0]["res5"] for _ in range(8)]
    neck.given = ()
    plain = neck(features, None, labels)[0]["res5"]
    assert all(torch.equal(x, plain) for x in refined[1e-9])
    assert all(torch.equal(x, refined[1.0][0]) for x in refined[1.0])
    assert len({float(x.detach().sum()) for x in refined[0.5]}) > 4
