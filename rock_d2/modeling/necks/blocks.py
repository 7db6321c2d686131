"""Parts that PAD-Net, MTI-Net and their baselines share.

N images, C channels, h x w places.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from torch import nn
from torch.nn import functional as F

from rock_d2.layers import own_seed
from rock_d2.registry import registered
from rock_d2.tasks import TASK_REGISTRY, Task


def basic_blocks(in_channels: int, out_channels: int, *, norm: str) -> nn.Sequential:
    return pytorch_weights(
        nn.Sequential(
            BasicBlock(in_channels, out_channels, norm=norm),
            BasicBlock(out_channels, out_channels, norm=norm),
        )
    )


def bottlenecks(in_channels: int, out_channels: int, *, norm: str) -> nn.Sequential:
    """Return two bottleneck blocks, a quarter of their width inside."""
    inside = {"bottleneck_channels": out_channels // 4, "norm": norm}
    return pytorch_weights(
        nn.Sequential(
            BottleneckBlock(in_channels, out_channels, **inside),
            BottleneckBlock(out_channels, out_channels, **inside),
        )
    )


def pytorch_weights(module: nn.Module) -> nn.Module:
    """Give all convolutions PyTorch's initial weights, which MTI-Net's authors keep."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return module


def mixing_conv(channels: int, *, norm: str) -> Conv2d:
    """Return a 1 x 1 convolution for joined maps; beside the norm, it has the authors' bias."""
    norm_layer = get_norm(norm, channels)
    return Conv2d(channels, channels, kernel_size=1, norm=norm_layer, activation=F.relu)


def enlarge(x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Resize (N, C, h, w) to the height and width of another map, bilinear, in its own type."""
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)


def join(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate maps of any sizes at the size of the first."""
    return torch.cat([maps[0], *(enlarge(x, maps[0]) for x in maps[1:])], dim=1)


def for_each_task(
    part: str, tasks: Sequence[Task], make: Callable[[Task], nn.Module]
) -> nn.ModuleDict:
    """Return a module a task, by its name, whose initial weights no other task changes."""
    modules = nn.ModuleDict()
    for task in tasks:
        with own_seed(f"{part}.{task.name}"):
            modules[task.name] = make(task)
    return modules


def predictors(part: str, tasks: Sequence[Task], channels: int) -> nn.ModuleDict:
    """Return a 1 x 1 convolution a task, from its features to its maps."""
    return for_each_task(part, tasks, lambda task: nn.Conv2d(channels, task.num_outputs, 1))


def task_names(registered_names: Sequence[str], *, setting: str) -> list[str]:
    """Return the names of tasks that a setting gives by their registered names."""
    return [registered(TASK_REGISTRY, name, setting=setting).name for name in registered_names]


def coarse_to_fine(
    input_shape: Mapping[str, ShapeSpec], names: Sequence[str], *, setting: str
) -> dict[str, ShapeSpec]:
    """Return the shapes of the maps that ``setting`` names, from the largest stride."""
    unknown = [name for name in names if name not in input_shape]
    if unknown or not names:
        raise ValueError(
            f"{setting}: {list(names)} must name feature maps; there are {list(input_shape)}"
        )
    ordered = sorted(names, key=lambda name: input_shape[name].stride, reverse=True)
    return {name: input_shape[name] for name in ordered}
