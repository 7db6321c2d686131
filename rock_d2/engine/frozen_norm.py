"""Frozen batch normalisation within the convolution before it, in training, too."""

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn
from torch.nn import functional as F


class ConvWithFrozenNorm(Conv2d):
    """A convolution that scales its weights where its normalisation would scale the whole map.

    Normalising w * x is to convolve x with scale · w and to add shift, and a convolution adds for
    nothing: no further map is written and read, neither forward nor backward. Parameters and
    buffers stay what and where they are, so that gradients and checkpoints do.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm is None:  # fast_inference.fold has taken it for good
            return super().forward(x)
        weight, bias = self.scaled()
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)

    def scaled(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and biases of the convolution and its normalisation, in fp32."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if self.bias is None else norm.running_mean - self.bias
        return self.weight * scale[:, None, None, None], norm.bias - mean * scale


def merge_frozen_norms(model: nn.Module) -> nn.Module:
    """Lets all frozen normalisations after a Conv2d be part of it, in place; returns the model."""
    for module in model.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d):
            # Another class and not another module, since that would have other names.
            module.__class__ = ConvWithFrozenNorm
    return model
