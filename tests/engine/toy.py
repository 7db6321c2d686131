"""A model of one weight, whose losses and gradients can be computed by hand."""

from collections.abc import Sequence

import torch
from torch import nn

from rock_d2.engine.step import TrainingStep
from rock_d2.modeling.balancing import Balancer


class Line(nn.Module):
    """Two losses of a normalized product; the second has an infinite slope at distance 0."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.BatchNorm1d(1)
        self.weight = nn.Parameter(torch.tensor([0.5]))

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        x = self.backbone(torch.tensor([[item["x"]] for item in batch]))
        distance = torch.tensor([item.get("distance", 1.0) for item in batch])
        return {
            "loss_cls": (self.weight * x - 1).square().mean(),
            "loss_box_reg": (self.weight.square() * distance).sqrt().mean(),
        }


class Slope(nn.Module):
    """A loss w · mean(slope), and with it the gradient that the batch asks for."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: list[dict[str, float]]) -> dict[str, torch.Tensor]:
        slope = torch.tensor([item["slope"] for item in batch]).mean()
        return {"loss": (self.weight * slope).sum()}


def batch(*values: float, **others: float) -> list[dict]:
    return [{"x": x, "file_name": f"{i}_{x}.png", **others} for i, x in enumerate(values)]


def new_step(
    model: nn.Module,
    batches: Sequence[list],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    balancer: Balancer | None = None,
    **options,
) -> TrainingStep:
    """Return a step by plain gradient descent at rate 1, unless there is another optimizer."""
    balancer = balancer or Balancer()
    if optimizer is None:
        optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], lr=1.0)
    return TrainingStep(model.train(), batches, optimizer, balancer=balancer, **options)
