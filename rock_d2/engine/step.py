"""One step of the optimizer: mixed precision, accumulation, and losses that stay on the device."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d
from detectron2.utils import comm
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from rock_d2.engine.batches import BatchReader
from rock_d2.engine.divergence import DivergenceGuard, StepRecord, files_of
from rock_d2.engine.optim import load_optimizer
from rock_d2.layers.normalizers import SplitBatch

# What has been summed since the losses were last read.
PERIOD = ("_names", "_sums", "_num_steps", "_seconds", "_data_seconds")
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep:
    """Takes a batch, computes the losses and lets the optimizer step.

    The losses are summed on the device; ``read_losses`` is the only place that waits for them.
    (With fp16 the gradient scaler waits in every step, too.) A step whose gradient is not finite
    changes no weight and ends the training, or is one of those that may be skipped.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: DataLoader,
        optimizer: torch.optim.Optimizer,
        *,
        precision: torch.dtype | None = None,
        accumulate: int = 1,
        max_skipped_steps: int = 0,
        max_skipped_images: int = 0,
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
            max_skipped_steps: steps that may be not finite; in the schedule they count as any.
            max_skipped_images: images that may be unreadable.
        """
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.precision = precision
        self.accumulate = accumulate
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self.batches = BatchReader(data_loader, max_skipped_images)
        self.guard = DivergenceGuard(self.device, max_skipped_steps)
        self.iteration = 0
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        # What a forward pass may change; a ResNet-50 has 212 tensors that are frozen.
        parts = [part for part in model.modules() if not isinstance(part, FrozenBatchNorm2d)]
        self._statistics = [buffer for part in parts for buffer in part.buffers(recurse=False)]
        self._start_period()

    def run(self) -> None:
        start = time.perf_counter()
        batch = self.batches.next()
        self._data_seconds += time.perf_counter() - start
        losses, bad = self._learn(batch)
        self._add(losses, bad)
        self.guard.watch(bad, StepRecord(self.iteration, losses, files_of(batch)))
        self.iteration += 1
        self._seconds += time.perf_counter() - start

    def _learn(self, batch: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the device does for a step; its losses, and whether it is not finite."""
        buffers = self._copy_of_statistics() if self.guard.max_skipped else []
        self.optimizer.zero_grad()
        losses = self._backward(batch)
        bad = self._is_bad(losses)
        self._update(bad)
        for buffer, value in buffers:
            buffer.copy_(torch.where(bad, value, buffer))
        return losses, bad

    def _is_bad(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Whether the step is not finite: a bool on the device, the same in all processes."""
        if not self.scaler.is_enabled():
            # Losses that are not finite make the gradient so, and DDP's mean carries it to all.
            # (The norm's squares overflow above 1e19, which is as bad. Other norms are slower.)
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            return ~nn.utils.get_total_norm(gradients).isfinite()
        # The scaler looks for infinite gradients, answers them with a smaller scale, and steps on.
        bad = ~sum(losses.values()).isfinite()
        if comm.get_world_size() > 1:
            bad = bad.to(torch.uint8)
            distributed.all_reduce(bad, op=distributed.ReduceOp.MAX)
        return bad.bool()

    def _update(self, bad: torch.Tensor) -> None:
        """Lets the optimizer step, unless the gradient is not finite."""
        if self.scaler.is_enabled():
            # Fused optimizers would do so within their step, after clipping.
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif getattr(self.optimizer, "_step_supports_amp_scaling", False):
            # As the scaler does it: fused optimizers read the answer on the device.
            self.optimizer.grad_scale, self.optimizer.found_inf = None, bad.float()
            self.optimizer.step()
            del self.optimizer.grad_scale, self.optimizer.found_inf
        elif not bad:
            self.optimizer.step()

    def _copy_of_statistics(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(buffer, buffer.clone()) for buffer in self._statistics]

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
            losses = self._losses_of(part)
        losses = {name: loss / self.accumulate for name, loss in losses.items()}
        total = sum(losses.values())
        # Not a number makes every gradient so. (As backward's argument it would import SymPy.)
        factor = torch.where(total.detach().isfinite(), 1.0, math.nan).to(total.dtype)
        self.scaler.scale(total * factor).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _losses_of(self, part: Any) -> dict[str, torch.Tensor]:
        return self.model(part)

    @torch.no_grad()
    def _count(self, parts: Sequence[Sequence[Any]], whole: SplitBatch) -> None:
        """A first pass whose only trace is what it counts: statistics count each batch once."""
        model = getattr(self.model, "module", self.model)
        before = self._copy_of_statistics()
        for part in parts:
            with whole.counting(), self._autocast():
                model(part)
        for buffer, value in before:
            buffer.copy_(value)

    def _autocast(self) -> torch.autocast:
        enabled = self.precision is not None
        return torch.autocast(self.device.type, dtype=self.precision, enabled=enabled)

    def _start_period(self) -> None:
        self._names: list[str] = []
        # Of each loss over the steps that were finite, and at the end their number.
        self._sums = torch.zeros((), device=self.device)
        self._num_steps = 0
        self._seconds = self._data_seconds = 0.0

    def _add(self, losses: Mapping[str, torch.Tensor], bad: torch.Tensor) -> None:
        values = torch.stack([*losses.values(), torch.ones_like(bad, dtype=self._sums.dtype)])
        self._names = list(losses)
        self._sums = self._sums + torch.where(bad, 0, values)
        self._num_steps += 1

    def read_losses(self) -> tuple[dict[str, float], dict[str, float]]:
        """Since the last call: the mean of each loss over steps and processes, and the times.

        The times are seconds a step, ``time`` in all and ``data_time`` waiting for the batch, of
        the slowest process. Steps that were skipped have no losses.
        """
        start = time.perf_counter()
        *sums, count = self._sums.tolist()
        self._seconds += time.perf_counter() - start
        n = self._num_steps
        losses = dict(
            zip(self._names, [x / count if count else math.nan for x in sums], strict=True)
        )
        times = {"time": self._seconds / n, "data_time": self._data_seconds / n}
        self._start_period()
        all_losses, all_times, all_skipped = zip(
            *comm.all_gather((losses, times, self.batches.skipped)), strict=True
        )
        self.batches.share(all_skipped)
        means = {name: sum(x[name] for x in all_losses) / len(all_losses) for name in losses}
        return means, {name: max(x[name] for x in all_times) for name in times}

    def state_dict(self) -> dict[str, Any]:
        """What is the same in all processes."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped_steps": self.guard.num_skipped,
            "skipped_images": self.batches.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.guard.num_skipped = state["skipped_steps"]
        self.batches.skipped = dict(state["skipped_images"])

    def period_state(self) -> dict[str, Any]:
        """What this process has summed since the losses were last read."""
        return {name: getattr(self, name) for name in PERIOD} | {"_sums": self._sums.cpu()}

    def load_period_state(self, state: Mapping[str, Any]) -> None:
        for name in PERIOD:
            setattr(self, name, state[name])
        self._sums = state["_sums"].to(self.device)


def step_settings(cfg: CfgNode, num_processes: int) -> dict[str, Any]:
    """What TrainingStep takes from a config."""
    amp, accumulate = cfg.SOLVER.AMP, cfg.SOLVER.ACCUMULATE
    if amp.DTYPE not in PRECISIONS:
        raise ValueError(f"SOLVER.AMP.DTYPE: {amp.DTYPE!r} is none of {', '.join(PRECISIONS)}")
    if accumulate < 1 or cfg.SOLVER.IMS_PER_BATCH % (accumulate * num_processes):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH} cannot be split into "
            f"SOLVER.ACCUMULATE = {accumulate} equal parts on each of {num_processes} process(es)"
        )
    return {
        "precision": PRECISIONS[amp.DTYPE] if amp.ENABLED else None,
        "accumulate": accumulate,
        "max_skipped_steps": cfg.SOLVER.SKIP_NONFINITE,
        "max_skipped_images": cfg.DATALOADER.MAX_UNREADABLE,
    }
