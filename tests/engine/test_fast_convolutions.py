"""Fast convolutions are PyTorch's, to rounding."""

import pytest
import torch
from detectron2.layers import Conv2d
from torch import nn
from torch.nn import functional as F

from rock_d2.engine.fast_convolutions import PointwiseConv, WinogradConv, fast_convolution


@pytest.fixture(params=[1, 2])
def threads(request):
    """PyTorch takes other kernels for a single thread than for several."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


# Maps whose sides are no multiples of a tile, and smaller than one.
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 2)])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_winograd_is_the_convolution(size, dilation, memory_format):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 4, 3, padding=dilation, dilation=dilation).double()
    x = torch.randn(2, 5, *size).double().to(memory_format=memory_format)
    torch.testing.assert_close(WinogradConv(conv)(x), conv(x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_winograd_rounds_at_most_twice_as_much_as_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    x = torch.randn(1, 256, 12, 16)
    exact = F.conv2d(x.double(), conv.weight.double(), padding=1)
    fast, slow = ((layer(x) - exact).abs().max() for layer in (WinogradConv(conv), conv))
    assert 0 < fast < 2 * slow


@torch.no_grad()
def test_a_model_that_is_moved_leaves_it_to_pytorch(monkeypatch):
    monkeypatch.setattr(WinogradConv, "transform", lambda *_: pytest.fail("transforms"))
    conv = WinogradConv(nn.Conv2d(5, 4, 3, padding=1)).to("meta")
    assert conv(torch.empty(2, 5, 6, 8, device="meta")).shape == (2, 4, 6, 8)


@torch.no_grad()
def test_winograd_leaves_half_precision_to_pytorch():
    conv = nn.Conv2d(5, 4, 3, padding=1)
    x = torch.randn(2, 5, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(WinogradConv(conv)(x), conv(x), rtol=0, atol=0)


@torch.no_grad()
def test_pointwise_is_the_convolution(threads):
    torch.manual_seed(0)
    conv = Conv2d(64, 24, 1, activation=F.relu)
    x = torch.randn(2, 64, 7, 5).to(memory_format=torch.channels_last)
    found, expected = PointwiseConv(conv)(x), conv(x)
    torch.testing.assert_close(found, expected)
    assert (expected == 0).any() and (expected > 0).any()


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (Conv2d(8, 8, 1), PointwiseConv),
        (Conv2d(256, 256, 3, padding=2, dilation=2), WinogradConv),
        (Conv2d(8, 8, 1, norm=nn.BatchNorm2d(8)), type(None)),
        (Conv2d(8, 8, 1, stride=2), type(None)),
        (Conv2d(8, 8, 1, groups=2), type(None)),
        (Conv2d(8, 8, 1, padding=1), type(None)),
        (Conv2d(256, 256, 3, padding=1, stride=2), type(None)),
        (Conv2d(256, 256, 3), type(None)),
        (nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"), type(None)),
        (Conv2d(256, 255, 3, padding=1), type(None)),
        (nn.ReLU(), type(None)),
    ],
)
def test_only_what_it_computes_faster_is_replaced(layer, kind):
    assert type(fast_convolution(layer)) is kind


@pytest.mark.parametrize(
    ("kind", "conv"),
    [
        (PointwiseConv, nn.Conv2d(4, 6, 1)),
        (WinogradConv, nn.Conv2d(4, 6, 3, padding=2, dilation=2)),
    ],
)
def test_exported_it_is_the_plain_convolution(kind, conv, threads):
    fast, plain = (
        [
            (node.target, node.args[3:])
            for node in torch.export.export(layer, (torch.ones(1, 4, 6, 8),)).graph.nodes
            if node.op == "call_function"
        ]
        for layer in (kind(conv), conv)
    )
    assert fast == plain and len(plain) == 1
