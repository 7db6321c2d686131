"""One step of the optimizer: mixed precision, accumulation, and losses that stay on the device."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from rock_d2.modeling.reduction import SplitBatch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep:
    """Takes a batch, computes the losses and lets the optimizer step.

    The losses are summed on the device; ``read_losses`` is the only place that waits for them.
    (With fp16 the gradient scaler waits in every step, too.)
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: DataLoader,
        optimizer: torch.optim.Optimizer,
        *,
        precision: torch.dtype | None = None,
        accumulate: int = 1,
    ):
        """
        Args:
            model: returns a dict of losses, or is DistributedDataParallel around such a model.
            data_loader: of this process's share of each batch.
            optimizer: of the model's parameters.
            precision: of autocast; None computes in the weights' own.
            accumulate: parts in which a process sees its share, one after another. More than one
                need less memory, and a second forward pass, which counts what losses are divided
                by: so the gradient is that of the whole batch.
        """
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.precision = precision
        self.accumulate = accumulate
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self._batches = None
        self._start_period()

    def run(self) -> None:
        start = time.perf_counter()
        # Only now, since a resumed training begins with another batch.
        if self._batches is None:
            self._batches = iter(self.data_loader)
        batch = next(self._batches)
        self._data_seconds += time.perf_counter() - start
        self.optimizer.zero_grad()
        self._add(self._backward(batch))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._seconds += time.perf_counter() - start

    def _backward(self, batch: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Adds the batch's gradient to the parameters' and returns its losses."""
        if self.accumulate == 1:
            return self._backward_part(batch)
        size = len(batch) // self.accumulate
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        whole = SplitBatch()
        self._count(parts, whole)
        total: dict[str, torch.Tensor] = {}
        for i, part in enumerate(parts):
            waits = isinstance(self.model, DistributedDataParallel) and i < len(parts) - 1
            with self.model.no_sync() if waits else nullcontext(), whole.counted():
                losses = self._backward_part(part)
            total = {name: loss + total.get(name, 0) for name, loss in losses.items()}
        return total

    def _backward_part(self, part: Sequence[Any]) -> dict[str, torch.Tensor]:
        with self._autocast():
            losses = self.model(part)
        losses = {name: loss / self.accumulate for name, loss in losses.items()}
        self.scaler.scale(sum(losses.values())).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _count(self, parts: Sequence[Sequence[Any]], whole: SplitBatch) -> None:
        """A first pass whose only trace is what it counts: statistics count each batch once."""
        model = getattr(self.model, "module", self.model)
        before = [(buffer, buffer.clone()) for buffer in model.buffers()]
        for part in parts:
            with whole.counting(), self._autocast():
                model(part)
        for buffer, value in before:
            buffer.copy_(value)

    def _autocast(self) -> torch.autocast:
        enabled = self.precision is not None
        return torch.autocast(self.device.type, dtype=self.precision, enabled=enabled)

    def _start_period(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._num_steps = 0
        self._seconds = self._data_seconds = 0.0

    def _add(self, losses: Mapping[str, torch.Tensor]) -> None:
        self._sums = {name: loss + self._sums.get(name, 0) for name, loss in losses.items()}
        self._num_steps += 1

    def read_losses(self) -> tuple[dict[str, float], dict[str, float]]:
        """Since the last call: the mean of each loss over steps and processes, and the times.

        The times are seconds a step, ``time`` in all and ``data_time`` waiting for the batch, of
        the slowest process. Raises FloatingPointError if a loss is not finite.
        """
        start = time.perf_counter()
        values = torch.stack(list(self._sums.values())).tolist()
        self._seconds += time.perf_counter() - start
        n = self._num_steps
        mine = (
            {name: value / n for name, value in zip(self._sums, values, strict=True)},
            {"time": self._seconds / n, "data_time": self._data_seconds / n},
        )
        self._start_period()
        all_losses, all_times = zip(*comm.all_gather(mine), strict=True)
        losses = {name: sum(x[name] for x in all_losses) / len(all_losses) for name in mine[0]}
        wrong = {name: loss for name, loss in losses.items() if not abs(loss) < float("inf")}
        if wrong:
            raise FloatingPointError(f"losses became {wrong}; the last {n} steps did it")
        return losses, {name: max(x[name] for x in all_times) for name in mine[1]}

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def step_settings(cfg: CfgNode, num_processes: int) -> dict[str, Any]:
    """``precision`` and ``accumulate`` of a config."""
    amp, accumulate = cfg.SOLVER.AMP, cfg.SOLVER.ACCUMULATE
    if amp.DTYPE not in PRECISIONS:
        raise ValueError(f"SOLVER.AMP.DTYPE: {amp.DTYPE!r} is none of {', '.join(PRECISIONS)}")
    if accumulate < 1 or cfg.SOLVER.IMS_PER_BATCH % (accumulate * num_processes):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH} cannot be split into "
            f"SOLVER.ACCUMULATE = {accumulate} equal parts on each of {num_processes} process(es)"
        )
    return {"precision": PRECISIONS[amp.DTYPE] if amp.ENABLED else None, "accumulate": accumulate}
