"""Steps whose loss or gradient is not finite: noticed without waiting for the device."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.utils import comm

from rock_d2.engine.ending import Diverged

logger = logging.getLogger(__name__)

# More files than this are counted only.
FILES_SHOWN = 16


class StepRecord(NamedTuple):
    """What is told of a step that went wrong.

    Attributes:
        iteration: counted from 0.
        losses: on the device.
        files: of this process's images.
    """

    iteration: int
    losses: Mapping[str, torch.Tensor]
    files: Sequence[str]


class DivergenceGuard:
    """Ends a training after a step that is not finite, or lets some of them pass.

    On a GPU the answer is copied while the next step is computed and read when that has been
    queued: the GPU never runs dry. Elsewhere it is read at once.
    """

    def __init__(self, device: torch.device, max_skipped: int):
        """
        Args:
            device: of the model.
            max_skipped: steps that may go wrong.
        """
        self.max_skipped = max_skipped
        self.num_skipped = 0
        self._pending: StepRecord | None = None
        self._waits = device.type == "cuda"
        self._answer = torch.zeros((), dtype=torch.bool, pin_memory=self._waits)
        self._copied = torch.cuda.Event() if self._waits else None

    def watch(self, bad: torch.Tensor, record: StepRecord) -> None:
        """Takes note of a step; ``bad`` must be the same in all processes.

        Raises Diverged if it, or on a GPU the step before, was one too many.
        """
        self.settle()
        self._answer.copy_(bad, non_blocking=self._waits)
        self._pending = record
        if self._copied is not None:
            # By default it would be the current GPU's, which need not be the model's.
            self._copied.record(torch.cuda.current_stream(bad.device))
        else:
            self.settle()

    def settle(self) -> None:
        """Waits for the last answer; raises Diverged if that step was one too many."""
        record, self._pending = self._pending, None
        if record is None:
            return
        if self._copied is not None:
            self._copied.synchronize()
        if self._answer:
            self._judge(record)

    def _judge(self, record: StepRecord) -> None:
        self.num_skipped += 1
        text = describe(record)
        if self.num_skipped > self.max_skipped:
            allowed = f" ({self.max_skipped} were allowed)" if self.max_skipped else ""
            raise Diverged(f"{text}{allowed}")
        logger.warning(f"{text}; skipped, {self.num_skipped} of up to {self.max_skipped}")


def describe(record: StepRecord) -> str:
    """Iteration, losses and images of a step; all processes must call it."""
    mine = ({name: float(loss) for name, loss in record.losses.items()}, list(record.files))
    parts: list[tuple[int, dict[str, float], list[str]]] = [
        (rank, *part) for rank, part in enumerate(comm.all_gather(mine))
    ]
    guilty = [part for part in parts if not all(map(math.isfinite, part[1].values()))]
    what = "a loss is not finite" if guilty else "the gradient is not finite, the losses are"
    told = "; ".join(_of_process(*part, of=len(parts)) for part in guilty or parts)
    return f"iteration {record.iteration}: {what}: {told}"


def _of_process(rank: int, losses: Mapping[str, float], files: Sequence[str], of: int) -> str:
    where = f"process {rank}: " if of > 1 else ""
    values = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
    more = f" and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
    return f"{where}{values}; images {', '.join(files[:FILES_SHOWN])}{more}"


def files_of(batch: Sequence[Any]) -> list[str]:
    return [item.get("file_name", "without a name") for item in batch]
