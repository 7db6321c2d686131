"""True labels in place of predictions (MODEL.ROCK.GIVEN), in any detector."""

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


def seen(model: nn.Module, batch_item: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return X as the detector gets it, and the predicted depth."""
    found = []
    hook = model.neck.register_forward_hook(lambda neck, x, output: found.append(output))
    model([batch_item])
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
