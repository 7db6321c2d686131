"""Hooks that a training runs beside its steps."""

import logging
import math
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from rock_d2.engine.signals import INTERRUPTED, StopSignals
from rock_d2.engine.step import TrainingStep
from rock_d2.registry import check_choice

logger = logging.getLogger(__name__)


class LossReader(HookBase):
    """Reads the losses from the device every ``period`` iterations, and what else the log shows.

    ``batch_size`` is that of all processes.
    """

    def __init__(self, step: TrainingStep, *, period: int, batch_size: int):
        if period < 1:
            raise ValueError(f"SOLVER.LOG_PERIOD is {period}; it must be at least 1")
        self._step = step
        self._period = period
        self._batch_size = batch_size

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period and done != self.trainer.max_iter:
            return
        losses, times = self._step.read_losses()
        if losses:
            losses = {"total_loss": sum(losses.values()), **losses}
        speed = {"images_per_second": self._batch_size / times["time"], "memory_gb": memory_gb()}
        self.trainer.storage.put_scalars(**losses, **times, **speed, smoothing_hint=False)


def memory_gb() -> float:
    """Return the most memory that this process has had, on the GPU if it uses one."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    # Kilobytes; macOS counts bytes.
    unit = 2 ** (30 if sys.platform == "darwin" else 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Evaluations(HookBase):
    """Evaluates periodically and at the end, and keeps the best model.

    It is Detectron2's EvalHook and BestCheckpointer in one, and a checkpoint holds its state.
    """

    def __init__(
        self,
        evaluate: Callable[[], dict[str, Any]],
        checkpointer: Checkpointer,
        *,
        period: int,
        metric: str,
        mode: str = "max",
        protocol: str = "",
        checkpoint_period: int = 0,
        derived: Callable[[Mapping[str, float]], dict[str, float]] = lambda results: {},
    ):
        """
        Args:
            evaluate: returns results; only the first process has any.
            period: iterations; 0 evaluates at the end only.
            protocol: the name of the metric's, for the log.
            checkpoint_period: of ``Checkpoints``; what an evaluation follows is saved before it.
            derived: returns further metrics from those that were measured.
        """
        check_choice(mode, ("max", "min"), setting="TEST.BEST_MODE")
        self._evaluate = evaluate
        self._checkpointer = checkpointer
        self._period = period
        self._metric = metric
        self._sign = 1 if mode == "max" else -1
        self._protocol = f" by {protocol}" if protocol else ""
        self._checkpoint_period = checkpoint_period
        self._derived = derived
        self.best: float | None = None
        self.best_iteration: int | None = None

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            if self._checkpoint_period and done % self._checkpoint_period == 0:
                # Nothing is lost if the evaluation fails; it is saved again with its results.
                self._checkpointer.save(f"model_{self.trainer.iter:07d}")
            self._run(done)

    def after_train(self) -> None:
        # Not after an error.
        if self.trainer.iter >= self.trainer.max_iter:
            self._run(self.trainer.max_iter)

    def _run(self, done: int) -> None:
        # All processes must come to the same end.
        results = comm.all_gather(flatten_results_dict(self._evaluate()))[0]
        results |= self._derived(results)
        self.trainer.storage.put_scalars(**results, smoothing_hint=False)
        if self._metric in results:
            self._compare(float(results[self._metric]), done)
        else:
            known = ", ".join(name for name in results if "-" not in name)
            logger.warning(f"TEST.BEST_METRIC is {self._metric!r}, but measured are only {known}")

    def _compare(self, value: float, done: int) -> None:
        found = f"{self._metric} is {value:.3f}{self._protocol} after {done} iterations"
        if math.isnan(value) or (
            self.best is not None and self._sign * value <= self._sign * self.best
        ):
            logger.info(f"{found}; the best is {self.best}")
            return
        self.best, self.best_iteration = value, done
        logger.info(f"{found}, the best so far")
        self._checkpointer.save("model_best")

    def state_dict(self) -> dict[str, Any]:
        of = [self._metric, self._sign]
        return {"best": self.best, "best_iteration": self.best_iteration, "of": of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # Scores of different metrics cannot be compared.
        if state.get("of", [self._metric, self._sign]) == [self._metric, self._sign]:
            self.best, self.best_iteration = state["best"], state["best_iteration"]


class Checkpoints(HookBase):
    """Saves every ``period`` iterations, after the last one, and when a signal asks for the end.

    It comes after all hooks that have a state, so that a checkpoint holds the state that the next
    iteration begins with.
    """

    def __init__(self, checkpointer: Checkpointer, period: int):
        if period < 1:
            raise ValueError(f"SOLVER.CHECKPOINT_PERIOD is {period}; it must be at least 1")
        self._checkpointer = checkpointer
        self._period = period
        self._signals = StopSignals()

    def before_train(self) -> None:
        self._signals.install()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        signal = self._signals.agreed()
        if done == self.trainer.max_iter:
            self._checkpointer.save("model_final")
            # Nothing is lost if a signal ends the evaluation that follows.
            self._signals.restore()
        elif signal or done % self._period == 0:
            self._checkpointer.save(f"model_{self.trainer.iter:07d}")
        if signal:
            logger.warning(f"Ended by signal {signal} after {done} iterations; --resume continues")
            raise SystemExit(INTERRUPTED)

    def after_train(self) -> None:
        self._signals.restore()
