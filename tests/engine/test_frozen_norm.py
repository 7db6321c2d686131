"""Frozen normalisation within convolutions: the same function, gradient and checkpoint."""

from copy import deepcopy

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn
from torch.nn import functional as F

from rock_d2.engine.fast_inference import BATCH_NORMS, inference_copy
from rock_d2.engine.frozen_norm import ConvWithFrozenNorm, merge_frozen_norms
from rock_d2.engine.trainer import RockTrainer

FROZEN = ("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.RESNETS.NORM", "FrozenBN")
GEOMETRIES = {
    "1x1": {"kernel_size": 1, "bias": False, "activation": F.relu},
    "strided, with a bias": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated groups": {"kernel_size": 3, "dilation": 2, "groups": 2, "bias": False},
}


@torch.no_grad()
def with_statistics(model: nn.Module) -> nn.Module:
    """Those of no initialisation."""
    generator = torch.Generator().manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            for values, low in ((norm.weight, 0.5), (norm.running_var, 0.5), (norm.bias, -0.5)):
                values.uniform_(low, low + 1, generator=generator)
            norm.running_mean.normal_(generator=generator)
    return model


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_outputs_and_gradients_are_those_of_both_apart(geometry):
    torch.manual_seed(0)
    conv = with_statistics(Conv2d(4, 6, norm=FrozenBatchNorm2d(6), **geometry)).double()
    apart, merged = conv, merge_frozen_norms(deepcopy(conv))
    assert type(apart) is Conv2d and type(merged) is ConvWithFrozenNorm
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    outputs, gradients = [], []
    for module in (apart, merged):
        output = module(x)
        outputs.append(output)
        weights = (x, *module.parameters())
        gradients.append(torch.autograd.grad(output.square().sum(), weights))
    # In double precision only a real difference is as large as this.
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-10)


def test_weights_are_scaled_before_they_are_rounded():
    conv = with_statistics(Conv2d(4, 6, kernel_size=1, norm=FrozenBatchNorm2d(6)))
    merge_frozen_norms(conv)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {values.dtype for values in conv.scaled()} == {torch.float32}
        assert conv(torch.randn(1, 4, 2, 2)).dtype == torch.bfloat16


def test_a_training_merges_all_and_stores_what_it_always_did(small_config):
    # Two stages without gradients, as Detectron2 freezes them.
    cfg = small_config(*FROZEN, "INPUT.SIZE", [64, 96], "MODEL.BACKBONE.FREEZE_AT", 2)
    expected, model = build_model(cfg), RockTrainer.build_model(cfg)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(ConvWithFrozenNorm) == kinds.count(FrozenBatchNorm2d) == 20
    assert list(model.state_dict()) == list(expected.state_dict())
    named = dict(expected.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == named[name].requires_grad, name

    model.load_state_dict(with_statistics(expected).state_dict())
    images = torch.randint(256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = expected.eval().predict(images)
        found = model.eval().predict(images)
        folded = inference_copy(model, cfg)
        assert not any(isinstance(module, BATCH_NORMS) for module in folded.modules())
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(folded.predict(images), wanted, rtol=1e-4, atol=1e-4)
