"""Whether the tasks pull the shared backbone where the main ones do."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn

from rock_d2.modeling.balancing import DETECTOR, Balancer, average_over_processes, flat_gradient
from rock_d2.modeling.unknown_boxes import attributes_kept


class GradientConflict(HookBase):
    """Logs each task's gradient on the backbone and its angle to the main one.

    ``gradient_norm/<task>`` and ``gradient_norm/detector`` are L2 norms over all parameters of the
    backbone, ``gradient_cosine/<task>`` is the cosine with the gradient of the main losses, the
    detector's and the main tasks', without its own, all of the weighted losses on the batch that
    is learnt next. No gradient, no cosine.

    The training stays the same: the batch is made once more by its position, gradients go nowhere,
    and statistics and random numbers are put back. It costs a forward pass, and a backward pass for
    each task and for the detector.
    """

    def __init__(self, period: int, *, precision: torch.dtype | None = None):
        """Measure each ``period`` iterations under autocast, as the training's steps are."""
        self._period = period
        self._precision = precision

    def before_step(self) -> None:
        if self.trainer.iter % self._period == 0:
            model = getattr(self.trainer.model, "module", self.trainer.model)
            enabled = self._precision is not None
            autocast = torch.autocast(model.device.type, dtype=self._precision, enabled=enabled)
            # The next batch of this process.
            loader, sampler = self.trainer.data_loader, copy(self.trainer.data_loader.sampler)
            sampler.start_batch = self.trainer.iter
            batch = [loader.dataset[place] for place in islice(sampler, sampler.batch_size)]
            main = [DETECTOR, *(task.name for task in model.neck.tasks[: model.neck.num_main])]
            with unnoticed(model), autocast:
                scalars = conflict(gradients_on_backbone(model, batch), main)
            self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)


@contextmanager
def unnoticed(model: nn.Module) -> Iterator[None]:
    """Put back the model's buffers, the detector's attributes and the random numbers' state."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gpus = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus), attributes_kept(model.detector):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def gradients_on_backbone(model: nn.Module, batch: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Return the gradients of the detector and of each task, means over all processes.

    They are named ``DETECTOR`` and as the tasks: (P,) over all P trained values of the backbone.
    """
    groups = Balancer(task_losses=[f"loss_{task.name}" for task in model.neck.tasks])
    shared = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    return {
        name.removeprefix("loss_"): average_over_processes(flat_gradient(loss, shared))
        for name, loss in groups.grouped(model(batch)).items()
    }


def conflict(gradients: Mapping[str, torch.Tensor], main: Collection[str]) -> dict[str, float]:
    """Return the norms of gradients and their cosines with the sum of the other main ones."""
    scalars = {f"gradient_norm/{name}": float(g.norm()) for name, g in gradients.items()}
    for name, gradient in gradients.items():
        rest = [g for other, g in gradients.items() if other in main and other != name]
        others = sum(rest, torch.zeros_like(gradient))
        norms = scalars[f"gradient_norm/{name}"] * float(others.norm())
        if norms > 0:
            scalars[f"gradient_cosine/{name}"] = float(gradient @ others) / norms
    return scalars
