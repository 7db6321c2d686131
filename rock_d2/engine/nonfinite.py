"""Steps whose loss or gradient is not finite: they end a training, or a few may be skipped."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)


class NonFiniteGuard:
    """Skips up to ``max_skipped`` steps, and undoes their changes of the modules' buffers."""

    def __init__(self, modules: Sequence[nn.Module], max_skipped: int):
        self.num_skipped = 0
        self._max_skipped = max_skipped
        self._buffers = [b for module in modules for b in module.buffers()] if max_skipped else []
        self._values: list[torch.Tensor] = []

    def before_step(self) -> None:
        self._values = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def skip(
        self, iteration: int, losses: Mapping[str, torch.Tensor], batch: Sequence[Mapping[str, Any]]
    ) -> None:
        """Undo a step; all processes must call this together.

        Raises:
            FloatingPointError: if it is one too many.
        """
        self.num_skipped += 1
        text = describe(iteration, losses, batch)
        if self.num_skipped > self._max_skipped:
            raise FloatingPointError(f"{text}; SOLVER.SKIP_NONFINITE is {self._max_skipped}")
        logger.warning(f"{text}; skipped, {self.num_skipped} of up to {self._max_skipped}")
        for buffer, value in zip(self._buffers, self._values, strict=True):
            buffer.copy_(value)


def describe(
    iteration: int, losses: Mapping[str, torch.Tensor], batch: Sequence[Mapping[str, Any]]
) -> str:
    """Return the losses and images of a step, of the processes whose losses are not finite."""
    values = {name: float(loss) for name, loss in losses.items()}
    files = ", ".join(item.get("file_name", "without a name") for item in batch)
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    mine = f"process {comm.get_rank()}: {listed}; images {files}"
    shares = comm.all_gather((mine, all(map(math.isfinite, values.values()))))
    guilty = [text for text, is_finite in shares if not is_finite]
    what = "a loss" if guilty else "the gradient"
    texts = guilty or [text for text, _ in shares]
    return f"iteration {iteration}: {what} is not finite: {'; '.join(texts)}"
