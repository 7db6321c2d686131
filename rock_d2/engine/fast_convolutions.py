"""Convolutions as a CPU computes them fastest, equal to PyTorch's to rounding; for inference only.

In traced programs they are PyTorch's: an exported file shall hold plain convolutions.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

# With fewer inputs or outputs the transforms take the time that the products save.
WINOGRAD_CHANNELS = 256


def fast_convolution(layer: nn.Module) -> nn.Module | None:
    """The same convolution with the same weights, if there is a faster form of it."""
    if not isinstance(layer, nn.Conv2d) or layer.stride != (1, 1) or layer.groups != 1:
        return None
    # cuDNN chooses for itself.
    if layer.weight.device.type != "cpu" or getattr(layer, "norm", None) is not None:
        return None
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        return PointwiseConv(layer)
    keeps_size = layer.padding == layer.dilation and layer.dilation[0] == layer.dilation[1]
    zeros_around = keeps_size and layer.padding_mode == "zeros"
    wide = min(layer.in_channels, layer.out_channels) >= WINOGRAD_CHANNELS
    if layer.kernel_size == (3, 3) and zeros_around and wide:
        return WinogradConv(layer)
    return None


def is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


class PlainConv(nn.Module):
    """A convolution of stride 1 as PyTorch computes it."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.padding, self.dilation = conv.padding[0], conv.dilation[0]
        self.activation = getattr(conv, "activation", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolve(x)
        return y if self.activation is None else self.activation(y)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding, dilation=self.dilation)


class PointwiseConv(PlainConv):
    """A 1 x 1 convolution that oneDNN computes on a single thread, too.

    There PyTorch takes a matrix product of its own, which is slower, unless the convolution is
    strided or dilated ("THNN is faster when single-threaded", use_mkldnn in ATen's
    Convolution.cpp). Dilation moves a kernel's taps apart, and this one has a single tap.
    """

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        full = x.device.type == "cpu" and x.dtype == torch.float32
        onednn = full and torch.backends.mkldnn.is_available()
        if not onednn or torch.get_num_threads() > 1 or is_traced():
            return super().convolve(x)
        return F.conv2d(x, self.weight, self.bias, dilation=2)


class WinogradConv(PlainConv):
    """A 3 x 3 convolution of 4/9 of the multiplications (Lavin and Gray, 2016: F(2 x 2, 3 x 3)).

    A tile of 4 x 4 inputs and a kernel become 16 values each, whose products become 2 x 2 outputs.
    Where PyTorch multiplies 9 times an output, this does 4 times, in 16 matrix products.

    An image has C channels and h x w tiles for each of the d x d grids that a dilation of d makes
    of it. Images are taken one by one: what is transformed shall still be in the cache.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__(conv)
        rows = _transform_taps(conv.weight.detach().double().unbind(2))
        taps = torch.stack([_transform_taps(row.unbind(2)) for row in rows])
        # (16, C, output channels)
        kernels = taps.flatten(0, 1).transpose(1, 2).contiguous()
        self.register_buffer("kernels", kernels.to(conv.weight.dtype), persistent=False)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        # Half precision has processor instructions of its own and no digits to spare.
        half = x.element_size() < 4 or torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or half or is_traced():
            return super().convolve(x)
        (height, width), d = x.shape[2:], self.dilation
        h, w = (-(-size // (2 * d)) for size in (height, width))
        y = x.new_empty(len(x), 2 * h * d, 2 * w * d, len(self.weight))
        for image, output in zip(x.permute(0, 2, 3, 1), y, strict=True):
            below, right = (2 * h + 1) * d - height, (2 * w + 1) * d - width
            padded = F.pad(image, (0, 0, d, right, d, below))
            self.transform(
                padded.view(2 * h + 2, d, 2 * w + 2, d, -1), output.view(h, 2, d, w, 2, d, -1)
            )
        y = y[:, :height, :width].permute(0, 3, 1, 2)
        return y if self.bias is None else y.add_(self.bias[:, None, None])

    def transform(self, image: torch.Tensor, output: torch.Tensor) -> None:
        """From an image (2h + 2, d, 2w + 2, d, C) to the output (h, 2, d, w, 2, d, C')."""
        h, _, d, w, _, _, out_channels = output.shape
        rows = image.new_empty(4, h, d, 2 * w + 2, d, image.shape[-1])
        _transform_inputs([image[i : i + 2 * h - 1 : 2] for i in range(4)], out=rows)
        tiles = image.new_empty(4, 4, h, d, w, d, image.shape[-1])
        columns = [rows[:, :, :, i : i + 2 * w - 1 : 2] for i in range(4)]
        _transform_inputs(columns, out=tiles.transpose(0, 1))
        products = torch.bmm(tiles.view(16, h * d * w * d, -1), self.kernels)
        products = products.view(4, 4, h, d, w, d, out_channels)
        rows = products.new_empty(2, *products.shape[1:])
        _transform_products(products, out=rows)
        _transform_products(rows.transpose(0, 1), out=output.permute(4, 1, 0, 2, 3, 5, 6))


def _transform_taps(taps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Of the 3 taps of a kernel along one axis the 4 factors."""
    a, b, c = taps
    return torch.stack([a, (a + b + c) / 2, (a - b + c) / 2, c])


def _transform_inputs(inputs: Sequence[torch.Tensor], *, out: torch.Tensor) -> None:
    """Of 4 neighbours along one axis the 4 factors."""
    a, b, c, d = inputs
    torch.sub(a, c, out=out[0])
    torch.add(b, c, out=out[1])
    torch.sub(c, b, out=out[2])
    torch.sub(b, d, out=out[3])


def _transform_products(products: torch.Tensor, *, out: torch.Tensor) -> None:
    """Of 4 products along one axis the 2 outputs."""
    a, b, c, d = products
    torch.add(a, b, out=out[0]).add_(c)
    torch.sub(b, c, out=out[1]).sub_(d)
