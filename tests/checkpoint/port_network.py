"""The network of rock-pytorch under its own names, at any width: what its checkpoints hold."""

from collections.abc import Mapping, Sequence

import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision_resnets import features_of

NUM_OUTPUTS = 20  # Class 0 is the background.
NUM_BOXES = (4, 6, 6, 6, 4, 4)
EXTRA_CHANNELS = (1024, 512, 256, 256, 256)
TASKS = {"scene": 27, "depth": 128, "normals": 384}


def layer_of(module: nn.Module, number: str, x: torch.Tensor) -> torch.Tensor:
    """The convolution of that number with its normalisation."""
    return F.relu(module.get_submodule(f"bn{number}")(module.get_submodule(f"conv{number}")(x)))


class Task(nn.Module):
    def __init__(self, name: str, *, width: int, channels: int):
        super().__init__()
        self.name = name
        sizes = (width, width // 2, width // 2, width)
        for i, kernel in ((1, 1), (2, 3), (3, 1)):
            conv = nn.Conv2d(sizes[i - 1], sizes[i], kernel, padding=kernel // 2)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(sizes[i]))
        self.add_module(f"{name}_in", nn.Conv2d(width, channels, 1))
        self.add_module(f"{name}_out", nn.Conv2d(channels, 2048, 1))
        self.bn_out = nn.BatchNorm2d(2048)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoding, and what is added to X."""
        for number in "123":
            x = layer_of(self, number, x)
        encoding = self.get_submodule(f"{self.name}_in")(x)
        return encoding, F.relu(self.bn_out(self.get_submodule(f"{self.name}_out")(encoding)))


class Auxiliary(nn.Module):
    def __init__(self, *, width: int, tasks: Mapping[str, int]):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2048, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.bn3 = nn.BatchNorm2d(2048)
        self.tasks = tuple(tasks)
        for name, channels in tasks.items():
            self.add_module(f"{name}_extractor", Task(name, width=width, channels=channels))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        trunk = layer_of(self, "2", layer_of(self, "1", x))
        encodings = {}
        for name in self.tasks:
            encodings[name], decoded = self.get_submodule(f"{name}_extractor")(trunk)
            x = x + decoded
        return F.relu(self.bn3(x)), encodings


class Detection(nn.Module):
    def __init__(self, *, channels: Sequence[int], last_window: tuple[int, int]):
        super().__init__()
        halving = {"kernel_size": 3, "stride": 2, "padding": 1}
        windows = [halving] * 3 + [{"kernel_size": 3}, {"kernel_size": last_window}]
        maps = (2048, *channels)
        middles = (channels[0], *(c // 2 for c in channels[1:]))
        self.additional_layers = nn.ModuleList()
        layers = zip(maps[:-1], middles, channels, windows, strict=True)
        for c_in, middle, c_out, window in layers:
            first = (nn.Conv2d(c_in, middle, 1), nn.BatchNorm2d(middle), nn.ReLU())
            second = (nn.Conv2d(middle, c_out, **window), nn.BatchNorm2d(c_out), nn.ReLU())
            self.additional_layers.append(nn.Sequential(*first, *second))
        self.loc, self.conf = nn.ModuleList(), nn.ModuleList()
        for c, boxes in zip(maps, NUM_BOXES, strict=True):
            self.loc.append(nn.Conv2d(c, 4 * boxes, 3, padding=1))
            self.conf.append(nn.Conv2d(c, NUM_OUTPUTS * boxes, 3, padding=1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Deltas (N, 4, A) and logits (N, 20, A): on each map box by box, each over all cells."""
        maps = [x]
        for layer in self.additional_layers:
            maps.append(layer(maps[-1]))
        deltas = [loc(m).reshape(len(x), 4, -1) for loc, m in zip(self.loc, maps, strict=True)]
        logits = [
            c(m).reshape(len(x), NUM_OUTPUTS, -1) for c, m in zip(self.conf, maps, strict=True)
        ]
        return torch.cat(deltas, dim=2), torch.cat(logits, dim=2)


class Port(nn.Module):
    """By default as released, for images of 480 x 640: conv5 has 30 x 40 cells."""

    def __init__(
        self,
        *,
        width: int = 512,
        tasks: Mapping[str, int] = TASKS,
        extra_channels: Sequence[int] = EXTRA_CHANNELS,
        last_window: tuple[int, int] = (2, 3),
    ):
        super().__init__()
        dilation = [False, False, True]
        self.feature_extractor = torchvision.models.resnet50(replace_stride_with_dilation=dilation)
        self.feature_extractor.avgpool = self.feature_extractor.fc = nn.Identity()
        self.detection = Detection(channels=extra_channels, last_window=last_window)
        self.auxiliary = Auxiliary(width=width, tasks=tasks) if tasks else None

    def forward(
        self, image: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Deltas, logits and encodings."""
        x, encodings = features_of(self.feature_extractor, image), {}
        if self.auxiliary:
            x, encodings = self.auxiliary(x)
        return *self.detection(x), encodings

    def trained_state(self) -> dict:
        """What the port's trainer saves."""
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-5, weight_decay=2e-3)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=(25000,))
        return {
            "epoch": 304,
            "iteration": 30000,
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "model": self.state_dict(),
        }
