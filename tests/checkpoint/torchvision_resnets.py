"""ResNets as torchvision has them: what its weights want, and what they compute."""

import torch
from torch import nn

# What torchvision's ResNets were trained with, by the names of the config.
TORCHVISION_SETTINGS = (
    *("INPUT.FORMAT", "RGB"),
    *("MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
    *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
    *("MODEL.RESNETS.STRIDE_IN_1X1", False),
)


def with_random_statistics(model: nn.Module) -> nn.Module:
    """Fresh batch normalisation does nothing, so that mistakes would not show."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith(("bn1.weight", "bn2.weight", "bn3.weight", "running_var")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            value.normal_(0, 0.1, generator=generator)
    return model.eval()


def features_of(resnet: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """conv5 of a torchvision ResNet."""
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
    return resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))
