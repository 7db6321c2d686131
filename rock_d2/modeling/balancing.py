"""How the losses of one network are weighted against each other.

A balancer sees the dict of losses once in a step. The losses of the tasks have an entry each;
all others are the detector's and stay one group, ``"detector"``, with one weight.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from fvcore.common.registry import Registry
from torch import distributed, nn
from torch.nn import functional as F

from rock_d2.registry import registered
from rock_d2.tasks import build_tasks

BALANCER_REGISTRY = Registry("BALANCER")
BALANCER_REGISTRY.__doc__ = "Balancers by the name that MODEL.BALANCING.NAME gives them."

DETECTOR = "detector"
Losses = Mapping[str, torch.Tensor]


def build_balancer(cfg: CfgNode) -> "Balancer":
    name = cfg.MODEL.BALANCING.NAME
    return registered(BALANCER_REGISTRY, name, setting="MODEL.BALANCING.NAME")(cfg)


class Balancer(nn.Module):
    """Turns the losses of a step into those that are added up and differentiated.

    A training has one outside its model: its parameters belong to the optimizer (without weight
    decay), and its state dict to the checkpoint. Parameters get the same gradient in all processes,
    and buffers the same values.
    """

    @configurable
    def __init__(self, *, task_losses: Sequence[str] = ()):
        """``task_losses`` are the tasks' names in the dict of losses, ``loss_<task>``."""
        super().__init__()
        self.task_losses = tuple(task_losses)

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add this balancer's settings to ``cfg.MODEL.BALANCING``."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"task_losses": [f"loss_{task.name}" for task in build_tasks(cfg)]}

    @property
    def groups(self) -> tuple[str, ...]:
        return (*self.task_losses, DETECTOR)

    def group_of(self, loss: str) -> str:
        return loss if loss in self.task_losses else DETECTOR

    def grouped(self, losses: Losses) -> dict[str, torch.Tensor]:
        """Return the sum of each group's losses in fp32; groups without a loss are left out."""
        sums: dict[str, torch.Tensor] = {}
        for name, loss in losses.items():
            group = self.group_of(name)
            sums[group] = sums[group] + loss.float() if group in sums else loss.float()
        return sums

    def group_values(self, losses: Losses) -> torch.Tensor:
        """Return each group's loss, the mean over all processes, without a gradient; 0: none."""
        sums = self.grouped(losses)
        zero = torch.zeros((), device=next(iter(losses.values())).device)
        return average_over_processes(
            torch.stack([sums.get(g, zero).detach() for g in self.groups])
        )

    def forward(self, losses: Losses) -> dict[str, torch.Tensor]:
        """Return the losses whose sum is to be differentiated."""
        return dict(losses)

    def backward(
        self, losses: Losses, *, shared: Iterable[nn.Parameter], scale: float | torch.Tensor = 1.0
    ) -> None:
        """Add the gradients of the balanced losses, times ``scale``, to those of the parameters.

        The backbone's parameters are ``shared``.
        """
        (sum(self(losses).values()) * scale).backward()


@BALANCER_REGISTRY.register()
class FixedWeights(Balancer):
    """Leaves the losses as they are: the tasks' LOSS_WEIGHT is in them."""


@BALANCER_REGISTRY.register()
class UncertaintyWeights(Balancer):
    """Learns how uncertain each group's loss is (Kendall et al., CVPR 2018, eq. 7).

    The sum is Σ_k exp(-s_k) L_k + s_k with learnt log variances s_k = log σ_k². This is twice the
    paper's Σ_k L_k / (2 σ_k²) + log σ_k, so that s = 0, where it starts, leaves the losses as they
    are. For constant losses the least is at exp(s_k) = L_k.

    A loss that is 0 in all processes, such as of a batch without labels, leaves its s_k alone.
    """

    @configurable
    def __init__(self, *, task_losses: Sequence[str] = ()):
        super().__init__(task_losses=task_losses)
        self.log_variances = nn.Parameter(torch.zeros(len(self.groups)))

    def forward(self, losses: Losses) -> dict[str, torch.Tensor]:
        values = self.group_values(losses)
        s = self.log_variances
        fixed = (-s).detach().exp()
        weights = dict(zip(self.groups, fixed, strict=True))
        balanced = {name: weights[self.group_of(name)] * loss for name, loss in losses.items()}
        # The gradient for s comes from the mean loss, so that it is equal in all processes; the
        # value is that of Σ s.
        learnt = ((-s).exp() - fixed) * values + s
        return balanced | {"log_variances": torch.where(values == 0, 0, learnt).sum()}


@BALANCER_REGISTRY.register()
class DynamicWeightAverage(Balancer):
    """Weights each group by how slowly its loss falls (Liu et al., CVPR 2019, eq. 7).

    λ_k = K exp(w_k / T) / Σ_i exp(w_i / T), where w_k is the mean loss of the last period over that
    of the one before, and 1 in the first two periods. K is the number of groups that have a loss.
    """

    @configurable
    def __init__(
        self, *, task_losses: Sequence[str] = (), temperature: float = 2.0, period: int = 1000
    ):
        super().__init__(task_losses=task_losses)
        if temperature <= 0:
            raise ValueError(f"MODEL.BALANCING.DWA.TEMPERATURE: {temperature} is not above 0")
        if period < 1:
            raise ValueError(f"MODEL.BALANCING.DWA.PERIOD: {period} iterations are none")
        self.temperature = temperature
        self.period = period
        # Mean losses of the period before the last and of the last; 0: not known yet.
        self.register_buffer("before", torch.zeros(len(self.groups)))
        self.register_buffer("last", torch.zeros(len(self.groups)))
        # Of the present period.
        self.register_buffer("sums", torch.zeros(len(self.groups)))
        self.register_buffer("count", torch.zeros(()))

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        node.DWA = CfgNode()
        # T of the paper.
        node.DWA.TEMPERATURE = 2.0
        # Iterations from one change of the weights to the next; an epoch in the paper.
        node.DWA.PERIOD = 1000

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.BALANCING.DWA
        return super().from_config(cfg) | {
            "temperature": node.TEMPERATURE,
            "period": node.PERIOD * cfg.SOLVER.ACCUMULATE,
        }

    def forward(self, losses: Losses) -> dict[str, torch.Tensor]:
        values = self.group_values(losses)
        present = [group in self.grouped(losses) for group in self.groups]
        weights = dict(zip(self.groups, self.weights(values.new_tensor(present)), strict=True))
        self.add(values)
        return {name: weights[self.group_of(name)] * loss for name, loss in losses.items()}

    def weights(self, present: torch.Tensor) -> torch.Tensor:
        """Return λ of each group; ``present`` is 1 for those that have a loss and 0 for others."""
        ratios = torch.where(self.before > 0, self.last / self.before, 1.0)
        shares = (ratios / self.temperature).softmax(0) * present
        return present.sum() * shares / shares.sum()

    @torch.no_grad()
    def add(self, values: torch.Tensor) -> None:
        """Count the losses of a call; at the end of a period they become the last ones."""
        self.sums += values
        self.count += 1
        ends = self.count >= self.period
        self.before.copy_(torch.where(ends, self.last, self.before))
        self.last.copy_(torch.where(ends, self.sums / self.count, self.last))
        self.sums *= ~ends
        self.count *= ~ends


@BALANCER_REGISTRY.register()
class GradientCosine(Balancer):
    """Lets an auxiliary task move the backbone only where the main ones agree (Du et al., 2018).

    A task's gradient is used on the shared parameters if its cosine with the main gradient is
    positive: the unweighted variant. Parameters of its own it always trains. The main gradient is
    that of all losses but the auxiliary tasks'.

    The gradients that are compared are those of the whole batch, over all processes and all parts
    since the parameters' gradients were None (``zero_grad``); each is computed by itself, so a step
    costs as many further passes backward through the backbone as there are groups. ``task_losses``
    are the auxiliary tasks' names in the dict of losses.
    """

    @configurable
    def __init__(self, *, task_losses: Sequence[str] = ()):
        super().__init__(task_losses=task_losses)
        # By group, the gradient on the shared parameters so far, as one vector.
        self._gradients: dict[str, torch.Tensor] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        auxiliary = build_tasks(cfg)[len(cfg.MODEL.TASKS.MAIN) :]
        return {"task_losses": [f"loss_{task.name}" for task in auxiliary]}

    def backward(
        self, losses: Losses, *, shared: Iterable[nn.Parameter], scale: float | torch.Tensor = 1.0
    ) -> None:
        groups = self.grouped(losses)
        if DETECTOR not in groups:
            raise ValueError(
                "MODEL.BALANCING.NAME: GradientCosine needs a main loss beside "
                f"{', '.join(losses)}: a detector or MODEL.TASKS.MAIN"
            )
        shared = [parameter for parameter in shared if parameter.requires_grad]
        if all(parameter.grad is None for parameter in shared):
            self._gradients = {}
        for group, loss in groups.items():
            gradient = average_over_processes(flat_gradient(loss * scale, shared))
            self._gradients[group] = self._gradients.get(group, 0) + gradient
        # The usual pass, in which DistributedDataParallel averages the gradients of all parameters.
        super().backward(losses, shared=shared, scale=scale)
        parts = self.gated().split([parameter.numel() for parameter in shared])
        for parameter, part in zip(shared, parts, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))

    def gated(self) -> torch.Tensor:
        """Return the main gradient and those that point its way."""
        main = self._gradients[DETECTOR]
        total = main.clone()
        for group, gradient in self._gradients.items():
            if group != DETECTOR:
                # A branch would wait for the device.
                agrees = F.cosine_similarity(main, gradient, dim=0) > 0
                total += torch.where(agrees, gradient, 0)
        return total


def flat_gradient(loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """Return the gradient of a loss as one vector, and leave that of the parameters alone."""
    if not parameters:
        raise ValueError("the whole backbone is frozen: tasks' gradients on it cannot be compared")
    if not loss.requires_grad:
        return torch.cat([torch.zeros_like(parameter).flatten() for parameter in parameters])
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def average_over_processes(values: torch.Tensor) -> torch.Tensor:
    values = values / comm.get_world_size()
    if comm.get_world_size() > 1:
        distributed.all_reduce(values)
    return values
