"""One step of the optimizer: mixed precision, accumulation, and losses that stay on the device."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from rock_d2.checkpoint.training import load_optimizer
from rock_d2.modeling.balancing import Balancer, GradientCosine
from rock_d2.registry import check_choice

# Of fp16; each gradient that is not finite halves it.
SMALLEST_SCALE = 2.0**-14
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep:
    """Takes a batch, computes the losses and lets the optimizer step.

    It has the attributes and methods of Detectron2's SimpleTrainer that DefaultTrainer uses. The
    losses are summed on the device until ``read_losses``. A step whose loss or gradient is not
    finite changes no weight and ends the training.
    """

    @configurable
    def __init__(
        self,
        model: nn.Module,
        data_loader: DataLoader,
        optimizer: torch.optim.Optimizer,
        *,
        balancer: Balancer,
        precision: torch.dtype | None = None,
        accumulate: int = 1,
    ):
        """Train a model that returns a dict of losses, also in DistributedDataParallel.

        ``precision`` is that of autocast, or None. A process sees its share of a batch in
        ``accumulate`` parts, to save memory; the gradient is the mean of theirs.
        """
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.balancer = balancer
        self.precision = precision
        self.accumulate = accumulate
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self.iter = 0
        self._batches: Iterator[Any] | None = None
        self._trained_parameters = [p for group in optimizer.param_groups for p in group["params"]]
        network = getattr(model, "module", model)
        self._shared = list(getattr(network, "backbone", network).parameters())
        self._start_period()

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        data_loader: DataLoader,
        optimizer: torch.optim.Optimizer,
        balancer: Balancer,
    ) -> dict[str, Any]:
        solver, num_processes = cfg.SOLVER, comm.get_world_size()
        check_choice(solver.AMP.DTYPE, PRECISIONS, setting="SOLVER.AMP.DTYPE")
        if solver.ACCUMULATE < 1 or solver.IMS_PER_BATCH % (solver.ACCUMULATE * num_processes):
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {solver.IMS_PER_BATCH}; it must be a multiple of "
                f"SOLVER.ACCUMULATE {solver.ACCUMULATE} x {num_processes} process(es)"
            )
        if solver.COMPILE == "reduce-overhead" and solver.ACCUMULATE > 1:
            raise ValueError(
                "SOLVER.COMPILE reduce-overhead reuses the memory of gradients: set "
                "SOLVER.ACCUMULATE to 1, or SOLVER.COMPILE to default"
            )
        by_task = isinstance(balancer, GradientCosine) or solver.GRADIENT_CONFLICT_PERIOD
        if solver.COMPILE and by_task:
            raise ValueError(
                "SOLVER.COMPILE: a compiled backbone gives no gradients of single tasks, which "
                "GradientCosine and SOLVER.GRADIENT_CONFLICT_PERIOD need"
            )
        return {
            "model": model,
            "data_loader": data_loader,
            "optimizer": optimizer,
            "balancer": balancer,
            "precision": PRECISIONS[solver.AMP.DTYPE] if solver.AMP.ENABLED else None,
            "accumulate": solver.ACCUMULATE,
        }

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = self._next_batch()
        self._data_seconds += time.perf_counter() - start
        self.optimizer.zero_grad()
        losses = self._backward(batch)
        if not self._is_finite(losses):
            raise FloatingPointError(non_finite_text(self.iter, losses, batch))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError(non_finite_text(self.iter, losses, batch))
        self._sums = {name: self._sums.get(name, 0) + loss for name, loss in losses.items()}
        self._seconds += time.perf_counter() - start
        self._num_steps += 1

    def _next_batch(self) -> list[Any]:
        # Only now, since a resumed training begins with another batch.
        if self._batches is None:
            self._batches = iter(self.data_loader)
        return next(self._batches)

    def _backward(self, batch: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Add the gradient of the batch to the parameters' and return its losses."""
        size, total = len(batch) // self.accumulate, {}
        scale = self.scaler.scale(torch.full((), 1 / self.accumulate, device=self.device))
        for start in range(0, len(batch), size):
            with self._synchronized(start + size == len(batch)):
                with torch.autocast(self.device.type, self.precision, self.precision is not None):
                    losses = self.model(batch[start : start + size])
                self.balancer.backward(losses, shared=self._shared, scale=scale)
            for name, loss in losses.items():
                total[name] = total.get(name, 0) + loss.detach() / self.accumulate
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        return total

    def _synchronized(self, enabled: bool) -> AbstractContextManager:
        """Let DistributedDataParallel average the gradients only where it must."""
        is_parallel = isinstance(self.model, DistributedDataParallel)
        return self.model.no_sync() if is_parallel and not enabled else nullcontext()

    def _is_finite(self, losses: Mapping[str, torch.Tensor]) -> bool:
        """Return whether the step may change the weights, the same in all processes."""
        total = sum(losses.values())
        # The scaler looks for infinite gradients itself, and answers them with a smaller scale.
        if not self.scaler.is_enabled():
            gradients = [p.grad for p in self._trained_parameters if p.grad is not None]
            total = total + nn.utils.get_total_norm(gradients)
        if comm.get_world_size() > 1:
            distributed.all_reduce(total)
        return bool(total.isfinite())

    def _start_period(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._num_steps = 0
        self._seconds = self._data_seconds = 0.0

    def read_losses(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return means since the last call: each loss over steps and processes, and the times.

        The times are seconds a step, ``time`` in all and ``data_time`` waiting for the batch, of
        the slowest process.
        """
        start = time.perf_counter()
        losses = {name: float(loss) / self._num_steps for name, loss in self._sums.items()}
        self._seconds += time.perf_counter() - start
        times = {"time": self._seconds, "data_time": self._data_seconds}
        times = {name: seconds / self._num_steps for name, seconds in times.items()}
        self._start_period()
        all_losses, all_times = zip(*comm.all_gather((losses, times)), strict=True)
        means = {name: sum(x[name] for x in all_losses) / len(all_losses) for name in losses}
        return means, {name: max(x[name] for x in all_times) for name in times}

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "balancer": self.balancer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_optimizer(self.optimizer, state["optimizer"])
        self.balancer.load_state_dict(state["balancer"])
        self.scaler.load_state_dict(state["scaler"])


def non_finite_text(
    iteration: int, losses: Mapping[str, torch.Tensor], batch: Sequence[Mapping[str, Any]]
) -> str:
    """Return the losses and images of a step, for the log of each process."""
    what = "the gradient" if all(loss.isfinite() for loss in losses.values()) else "a loss"
    listed = ", ".join(f"{name} {float(loss):.4g}" for name, loss in losses.items())
    files = ", ".join(item.get("file_name", "without a name") for item in batch)
    return f"iteration {iteration}: {what} is not finite: {listed}; images {files}"
