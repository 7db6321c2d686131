"""Steps whose loss or gradient is not finite: they end a training, or a few may be skipped."""

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)

# More files than this are counted only.
FILES_SHOWN = 16


class NonFiniteGuard:
    """Counts the steps that are skipped, and undoes what they have done to statistics."""

    def __init__(self, modules: Sequence[nn.Module], max_skipped: int):
        """
        Args:
            modules: whose buffers a step may change.
            max_skipped: steps that may be not finite.
        """
        self.num_skipped = 0
        self._max_skipped = max_skipped
        self._buffers = [b for module in modules for b in module.buffers()] if max_skipped else []
        self._values: list[torch.Tensor] = []

    def before_step(self) -> None:
        self._values = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def skip(self, iteration: int, losses: Mapping[str, torch.Tensor], batch: Sequence) -> None:
        """Undo a step; all processes must call this together.

        Raises:
            FloatingPointError: if it is one too many.
        """
        self.num_skipped += 1
        text = describe(iteration, losses, [item.get("file_name", "?") for item in batch])
        if self.num_skipped > self._max_skipped:
            allowed = f"SOLVER.SKIP_NONFINITE is {self._max_skipped}"
            raise FloatingPointError(
                f"{text}; {allowed}, and --resume continues from the last checkpoint"
            )
        logger.warning(f"{text}; skipped, {self.num_skipped} of up to {self._max_skipped}")
        for buffer, value in zip(self._buffers, self._values, strict=True):
            buffer.copy_(value)


def describe(iteration: int, losses: Mapping[str, torch.Tensor], files: Sequence[str]) -> str:
    """Return the losses and images of a step, of the processes whose losses are not finite."""
    shares = list(enumerate(comm.all_gather(({n: float(x) for n, x in losses.items()}, files))))
    guilty = [share for share in shares if not all(map(math.isfinite, share[1][0].values()))]
    what = "a loss" if guilty else "the gradient"
    told = "; ".join(_of_process(rank, *share) for rank, share in guilty or shares)
    return f"iteration {iteration}: {what} is not finite: {told}"


def _of_process(rank: int, losses: Mapping[str, float], files: Sequence[str]) -> str:
    values = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
    more = f" and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
    return f"process {rank}: {values}; images {', '.join(files[:FILES_SHOWN])}{more}"
