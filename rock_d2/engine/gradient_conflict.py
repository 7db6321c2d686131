"""Whether the tasks pull the shared backbone where the detector does."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import distributed, nn

from rock_d2.data.reading import UnreadableError
from rock_d2.engine.ending import DataUnreadable

DETECTOR = "detector"
SECONDS = "gradient_seconds"


class GradientConflict(HookBase):
    """Logs, now and then, each task's gradient on the backbone and its angle to the detector's.

    ``gradient_norm/<task>`` and ``gradient_norm/detector`` are L2 norms over all parameters of the
    backbone, ``gradient_cosine/<task>`` is the cosine with the detector's gradient, all of the
    weighted losses on the batch that is about to be learnt. No gradient, no cosine.
    ``gradient_seconds`` is what the measurement has cost.

    The training does not notice: the batch is made once more by its position, gradients go
    nowhere, and statistics and random numbers are put back. It costs a forward pass, and a backward
    pass for each task and for the detector.
    """

    def __init__(self, period: int, *, precision: torch.dtype | None = None):
        """
        Args:
            period: iterations from one measurement to the next.
            precision: of autocast, as in the training's steps.
        """
        self._period = period
        self._precision = precision

    def before_step(self) -> None:
        if self.trainer.iter % self._period == 0:
            start = time.perf_counter()
            model = getattr(self.trainer.model, "module", self.trainer.model)
            with unnoticed(model), autocast(model, self._precision):
                gradients = gradients_on_backbone(model, self._batch())
            scalars = conflict(gradients)
            seconds = time.perf_counter() - start
            self.trainer.storage.put_scalars(**scalars, **{SECONDS: seconds}, smoothing_hint=False)

    def _batch(self) -> list[Any]:
        """What this process's next step will see."""
        loader = self.trainer.data_loader
        sampler = copy(loader.sampler)
        sampler.start_batch = self.trainer.iter
        try:
            return [loader.dataset[position] for position in islice(sampler, sampler.batch_size)]
        except UnreadableError as problem:
            raise DataUnreadable(str(problem)) from None


@contextmanager
def unnoticed(model: nn.Module) -> Iterator[None]:
    """Puts back the model's buffers and the state of the random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gpus = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def autocast(model: nn.Module, precision: torch.dtype | None) -> torch.autocast:
    return torch.autocast(model.device.type, dtype=precision, enabled=precision is not None)


def gradients_on_backbone(model: nn.Module, batch: Sequence[Any]) -> dict[str, torch.Tensor]:
    """The detector's gradient and each task's, flattened over all parameters of the backbone."""
    losses = dict(model(batch))
    parts = {task.name: losses.pop(f"loss_{task.name}") for task in model.neck.tasks}
    parts = {DETECTOR: sum(losses.values()), **parts}
    shared = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    return {name: flat_gradient(loss, shared) for name, loss in parts.items()}


def flat_gradient(loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """Zero where the loss does not depend on a parameter; the mean over all processes."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    flat = torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).float().flatten()
            for parameter, gradient in zip(parameters, found, strict=True)
        ]
    )
    if comm.get_world_size() > 1:
        distributed.all_reduce(flat)
        flat /= comm.get_world_size()
    return flat


def conflict(gradients: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Norms and cosines with the detector's gradient."""
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    scalars = {f"gradient_norm/{name}": norm for name, norm in norms.items()}
    for name, gradient in gradients.items():
        if name != DETECTOR and norms[name] * norms[DETECTOR] > 0:
            product = float(gradient @ gradients[DETECTOR])
            scalars[f"gradient_cosine/{name}"] = product / (norms[name] * norms[DETECTOR])
    return scalars
