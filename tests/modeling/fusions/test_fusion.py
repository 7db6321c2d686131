"""Equation 1 and its variants against independent formulas."""

import pytest
import torch

from rock_d2.modeling.fusions.fusion import DecoderFusion, NoFusion, build_fusion

WIDTHS = {"first": 5, "second": 4}


def random_fusion(name: str, norm: str = "BN") -> DecoderFusion:
    torch.manual_seed(1)
    fusion = build_fusion(name, out_channels=6, encoding_channels=WIDTHS, norm=norm).double().eval()
    for decoder in fusion.decoders.values():
        if norm:
            decoder.norm.running_mean.normal_()
            decoder.norm.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(decoder.norm.weight)
            torch.nn.init.normal_(decoder.norm.bias)
    return fusion


def random_input() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(2)
    encodings = {name: torch.randn(2, width, 3, 4).double() for name, width in WIDTHS.items()}
    return torch.randn(2, 6, 3, 4).double(), encodings


def decoded(fusion: DecoderFusion, name: str, encoding: torch.Tensor) -> torch.Tensor:
    """ReLU(BN(W e)) written out."""
    conv = fusion.decoders[name]
    norm = conv.norm
    y = torch.einsum("ck,nkhw->nchw", conv.weight[:, :, 0, 0], encoding)
    y = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    return (y * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)


def test_sum_is_equation_1():
    fusion, (x, encodings) = random_fusion("SumFusion"), random_input()
    expected = x + sum(decoded(fusion, name, e) for name, e in encodings.items())
    torch.testing.assert_close(fusion(x, encodings), expected, atol=1e-10, rtol=0)
    assert (expected - x).abs().max() > 0.1


def test_product_gates_every_feature():
    fusion, (x, encodings) = random_fusion("ProductFusion"), random_input()
    first, second = (decoded(fusion, name, e) for name, e in encodings.items())
    expected = x * (1 + first) * (1 + second)
    torch.testing.assert_close(fusion(x, encodings), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["SumFusion", "ProductFusion"])
def test_silent_decoders_leave_the_features(name):
    fusion, (x, encodings) = random_fusion(name), random_input()
    for decoder in fusion.decoders.values():
        torch.nn.init.zeros_(decoder.norm.weight)
        torch.nn.init.constant_(decoder.norm.bias, -1)
    assert torch.equal(fusion(x, encodings), x)


def test_tasks_may_come_in_any_order():
    fusion, (x, encodings) = random_fusion("SumFusion"), random_input()
    reversed_encodings = dict(reversed(encodings.items()))
    assert torch.equal(fusion(x, reversed_encodings), fusion(x, encodings))


def test_no_fusion_is_the_identity_and_holds_nothing():
    fusion = build_fusion("NoFusion", out_channels=6, encoding_channels=WIDTHS, norm="BN")
    x, encodings = random_input()
    assert isinstance(fusion, NoFusion)
    assert fusion(x, encodings) is x
    assert not fusion.state_dict() and not list(fusion.parameters())


@pytest.mark.parametrize(("norm", "has_bias"), [("BN", False), ("", True)])
def test_a_decoder_has_a_bias_only_without_a_norm(norm, has_bias):
    fusion = random_fusion("SumFusion", norm)
    assert all((decoder.bias is not None) == has_bias for decoder in fusion.decoders.values())


@pytest.mark.parametrize("name", ["SumFusion", "ProductFusion"])
def test_switched_off_decoders_bring_nothing_at_test_time(name):
    (x, encodings), fusion = random_input(), random_fusion(name)
    whole = fusion(x, encodings)
    fusion.switched_off = ("first",)
    second = decoded(fusion, "second", encodings["second"])
    only_second = x + second if name == "SumFusion" else x * (1 + second)
    torch.testing.assert_close(fusion(x, encodings), only_second, atol=1e-10, rtol=0)
    fusion.switched_off = tuple(WIDTHS)
    assert torch.equal(fusion(x, encodings), x)
    # Training goes on with all of them: each decoder must keep its gradient.
    for decoder in fusion.train().decoders.values():
        decoder.norm.eval()
    assert torch.equal(fusion(x, encodings), whole)


def test_a_fusion_without_decoders_has_none_to_switch_off():
    with pytest.raises(ValueError, match=r"SWITCHED_OFF: NoFusion has no decoders"):
        build_fusion(
            "NoFusion", out_channels=6, encoding_channels=WIDTHS, norm="", switched_off=["first"]
        )
