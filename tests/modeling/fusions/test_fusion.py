"""Equation 1 and its variants against independent formulas."""

from collections.abc import Callable

import pytest
import torch
from tiny import with_random_norms
from torch import nn

from rock_d2.modeling.fusions import FUSION_REGISTRY, DecoderFusion

WIDTHS = {"first": 5, "second": 4}
FORM = {"out_channels": 6, "encoding_channels": WIDTHS, "image_tasks": ["second"]}


def random_fusion(name: str, **options) -> DecoderFusion:
    torch.manual_seed(1)
    fusion = FUSION_REGISTRY.get(name)(**FORM, **{"norm": "BN", **options})
    # Some decoders start at zero.
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    return with_random_norms(fusion).double().eval()


def random_input() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(2)
    encodings = {name: torch.randn(2, width, 3, 4).double() for name, width in WIDTHS.items()}
    return torch.randn(2, 6, 3, 4).double(), encodings


def linear(conv: nn.Module, encoding: torch.Tensor) -> torch.Tensor:
    """BN(W e) written out."""
    norm = conv.norm
    y = torch.einsum("ck,nkhw->nchw", conv.weight[:, :, 0, 0], encoding)
    y = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    return y * norm.weight[:, None, None] + norm.bias[:, None, None]


def relu(conv: nn.Module, encoding: torch.Tensor) -> torch.Tensor:
    return linear(conv, encoding).clamp(min=0)


def attention(decoder: nn.Module, encoding: torch.Tensor) -> torch.Tensor:
    windows = nn.functional.pad(encoding, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    gate, message = (
        torch.einsum("ckij,nkhwij->nchw", conv.weight, windows)
        for conv in (decoder.gate, decoder.message)
    )
    return message / (1 + (-gate).exp())


def context(decoder: nn.Module, encoding: torch.Tensor) -> torch.Tensor:
    if encoding.shape[1] == WIDTHS["second"]:
        powers = encoding.mean(dim=(2, 3), keepdim=True).exp()
        encoding = (powers / powers.sum(dim=1, keepdim=True)).expand_as(encoding)
    decoded = torch.einsum("ck,nkhw->nchw", decoder.weight[:, :, 0, 0], encoding)
    return decoded + decoder.bias[:, None, None]


# The decoders and, from X and what they decode, the refined X.
FORMULAS: dict[str, tuple[Callable, Callable]] = {
    "SumFusion": (relu, lambda x, *decoded: x + sum(decoded)),
    "ProductFusion": (relu, lambda x, *d: x * torch.stack([1 + y for y in d]).prod(0) if d else x),
    "GatedFusion": (linear, lambda x, *d: x + x / (1 + (-sum(d)).exp()) if d else x),
    "AttentionFusion": (attention, lambda x, *decoded: x + sum(decoded)),
    "ContextFusion": (context, lambda x, *decoded: x + sum(decoded)),
}
each_fusion = pytest.mark.parametrize("name", FORMULAS)


def formula(
    name: str, fusion: DecoderFusion, tasks: tuple[str, ...] = tuple(WIDTHS)
) -> torch.Tensor:
    decode, merge = FORMULAS[name]
    x, encodings = random_input()
    return merge(x, *(decode(fusion.decoders[task], encodings[task]) for task in tasks))


@each_fusion
def test_fusion_is_its_formula(name):
    fusion, (x, encodings) = random_fusion(name), random_input()
    refined = fusion(x, encodings)
    torch.testing.assert_close(refined, formula(name, fusion), atol=1e-10, rtol=0)
    assert (refined - x).abs().max() > 0.1
    assert torch.equal(fusion(x, dict(reversed(encodings.items()))), refined)


@each_fusion
def test_switched_off_decoders_bring_nothing_at_test_time(name):
    x, encodings = random_input()
    fusion = random_fusion(name, switched_off=["first"])
    alone = formula(name, fusion, ("second",))
    torch.testing.assert_close(fusion(x, encodings), alone, atol=1e-10, rtol=0)
    assert torch.equal(random_fusion(name, switched_off=list(WIDTHS))(x, encodings), x)
    # Each decoder has a gradient in training.
    fusion.train()(x, encodings).square().sum().backward()
    assert all(p.grad.any() for p in fusion.parameters())


def test_no_fusion_is_the_identity_and_holds_nothing():
    fusion = random_fusion("NoFusion")
    x, encodings = random_input()
    assert fusion(x, encodings) is x
    assert not fusion.state_dict() and not list(fusion.parameters())
    with pytest.raises(ValueError, match=r"SWITCHED_OFF: NoFusion has no decoders"):
        random_fusion("NoFusion", switched_off=["first"])


@each_fusion
def test_number_of_parameters(name):
    count, without_norm = (
        sum(p.numel() for p in random_fusion(name, norm=norm).parameters()) for norm in ("BN", "")
    )
    # Two windows of 3 x 3 without bias; else 9 channels into 6, and for each of 2 x 6 the
    # normalisation's 2 or one bias.
    linear = 9 * 6 + 12
    expected = {"AttentionFusion": (18 * 9 * 6,) * 2, "ContextFusion": (linear, linear)}
    assert (count, without_norm) == expected.get(name, (9 * 6 + 24, linear))


@pytest.mark.parametrize("name", [name for name, _ in FUSION_REGISTRY])
def test_an_image_does_not_see_the_padding_of_its_batch(name):
    fusion, (x, encodings) = random_fusion(name), random_input()
    # The second image has 2 x 3 of 3 x 4 places; beyond, convolutions see zeros as alone.
    for maps in (x, *encodings.values()):
        maps[1, :, 2:], maps[1, :, :, 3:] = 0, 0
    together = fusion(x, encodings, [(1.0, 1.0), (2 / 3, 3 / 4)])[1:, :, :2, :3]
    own = {task: encoding[1:, :, :2, :3] for task, encoding in encodings.items()}
    torch.testing.assert_close(together, fusion(x[1:, :, :2, :3], own))


@each_fusion
def test_the_detectors_gradient_passes_to_the_encodings_or_does_not(name):
    fusion, (x, encodings) = random_fusion(name), random_input()
    for encoding in encodings.values():
        encoding.requires_grad_()
    fusion(x, encodings).sum().backward()
    passes = [encoding.grad is not None for encoding in encodings.values()]
    assert passes == [fusion.trains_encodings] * 2
