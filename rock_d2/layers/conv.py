"""Convolutions with normalisation and activation."""

from collections.abc import Sequence

from detectron2.layers import Conv2d, get_norm
from torch.nn import functional as F


def conv_norm_relu(in_channels: int, out_channels: int, *, kernel_size: int, norm: str) -> Conv2d:
    """Return a convolution that keeps the map's size, with a bias where there is no ``norm``."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )


def check_norm(norm: str, channels: Sequence[int], *, setting: str) -> None:
    """Raise ValueError unless Detectron2's get_norm knows the name, for these channels."""
    for count in set(channels):
        try:
            get_norm(norm, count)
        except (KeyError, ValueError) as problem:
            raise ValueError(
                f"{setting}: {norm!r} is no norm of Detectron2, or not for {count} channels "
                f"({problem})"
            ) from None
