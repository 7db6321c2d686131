"""What a training does beside its steps."""

import logging
import math
import resource
import sys
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.utils import comm

from rock_d2.engine.ending import Interrupted, TrainingStopped
from rock_d2.engine.signals import StopSignals
from rock_d2.engine.step import TrainingStep
from rock_d2.checkpoint.training import TrainingCheckpointer

logger = logging.getLogger(__name__)


class LossReader(HookBase):
    """Reads the losses from the device now and then, and what else the log shows."""

    def __init__(self, step: TrainingStep, *, period: int, batch_size: int):
        """
        Args:
            step: whose losses are read.
            period: iterations.
            batch_size: of all processes.
        """
        self._step = step
        self._period = period
        self._batch_size = batch_size

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period and done != self.trainer.max_iter:
            return
        losses, times = self._step.read_losses()
        scalars = {
            "total_loss": sum(losses.values()),
            **losses,
            **times,
            "images_per_second": self._batch_size / times["time"],
            "eta_seconds": times["time"] * (self.trainer.max_iter - done),
            "memory_gb": memory_gb(),
        }
        self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)


def memory_gb() -> float:
    """The most memory that this process has had, on the GPU if it uses one."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    # Kilobytes; macOS counts bytes.
    unit = 2 ** (30 if sys.platform == "darwin" else 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Evaluations(EvalHook):
    """Detectron2's, which would also evaluate what an error in the last iteration leaves."""

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()


class Checkpoints(HookBase):
    """Saves after every so many iterations, after the last one, and when a signal asks for it.

    It comes last, so that what a checkpoint holds is what the next iteration begins with.
    """

    def __init__(self, checkpointer: TrainingCheckpointer, period: int, *, timeout: float):
        """
        Args:
            checkpointer: of the training.
            period: iterations.
            timeout: seconds that processes wait for each other to tell of signals.
        """
        self._checkpointer = checkpointer
        self._period = period
        self._signals = StopSignals(timeout)

    def before_train(self) -> None:
        self._signals.install()

    def before_step(self) -> None:
        self._signals.begin_exchange()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        signal = self._signals.agreed()
        if done == self.trainer.max_iter:
            self._checkpointer.save("model_final")
            # All is saved, and nothing is lost if the evaluation that follows is.
            self._signals.restore()
        elif signal or done % self._period == 0:
            self._checkpointer.save(f"model_{self.trainer.iter:07d}")
        if signal:
            raise Interrupted(
                f"ended by signal {signal} after {done} of {self.trainer.max_iter} iterations; "
                f"{self._checkpointer.last_good()}, and --resume goes on from there"
            )

    def after_train(self) -> None:
        self._signals.restore()


class BestModel(HookBase):
    """Keeps the model of the best evaluation, and ends a training that gets no better.

    It comes after Detectron2's EvalHook, which leaves the results in the trainer.
    """

    def __init__(
        self, checkpointer: Checkpointer, *, period: int, metric: str, mode: str, patience: int
    ):
        """
        Args:
            checkpointer: writes ``model_best``.
            period: of the EvalHook; 0 leaves all but the last evaluation to calls of ``compare``.
            metric: ``<task>/<metric>``, or with ``<data set>/`` before it where there are several.
            mode: whether "max" or "min" is best.
            patience: evaluations in a row without a better value that end the training; 0: none do.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"TEST.BEST_MODE: {mode!r} is none of max, min")
        self._checkpointer = checkpointer
        self._period = period
        self._metric = metric
        self._sign = 1 if mode == "max" else -1
        self._patience = patience
        self.best: float | None = None
        self.best_iteration: int | None = None
        self.num_worse = 0

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self.compare(done)
            self.stop_if_exhausted()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self.compare(self.trainer.max_iter)

    def is_exhausted(self) -> bool:
        return 0 < self._patience <= self.num_worse

    def stop_if_exhausted(self) -> None:
        if self.is_exhausted():
            raise TrainingStopped(
                f"{self._metric} has not been better than {self.best} for {self.num_worse} "
                "evaluations"
            )

    def compare(self, iteration: int, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        """Compares the trainer's results with the best, and saves if they are better.

        Args:
            iteration: how many were done when the model was evaluated.
            weights: those that were evaluated, where the model has others by now.
        """
        # Only the main process has results; all must come to the same end.
        results = comm.all_gather(self.trainer.results)[0]
        if self._metric not in results:
            known = ", ".join(name for name in results if "-" not in name)
            raise ValueError(
                f"TEST.BEST_METRIC: {self._metric!r} is not measured; there are {known}"
            )
        value = float(results[self._metric])
        found = f"{self._metric} is {value:.3f} after {iteration} iterations"
        if math.isnan(value) or (
            self.best is not None and self._sign * value <= self._sign * self.best
        ):
            self.num_worse += 1
            logger.info(f"{found}; the best is {self.best}")
            return
        self.best, self.best_iteration, self.num_worse = value, iteration, 0
        logger.info(f"{found}, the best so far")
        if weights is None:
            self._checkpointer.save("model_best")
        else:
            self._checkpointer.save_weights("model_best", weights, iteration=iteration)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_iteration": self.best_iteration,
            "num_worse": self.num_worse,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]
        self.best_iteration = state["best_iteration"]
        self.num_worse = state["num_worse"]
