"""Evaluation beside the training (TEST.OVERLAP): a copy of the model, in a thread of its own."""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from rock_d2.engine.hooks import BestModel, Evaluations
from rock_d2.engine.results import Measured


class AbandonedError(Exception):
    """Nobody waits any longer for what an evaluation finds."""


class BackgroundEvaluation:
    """Measures a copy of a model in a thread of its own.

    The training must not feel it: gradient mode, autocast and the GPU's stream belong to a thread,
    and nothing that measures draws from the global random generators.
    """

    def __init__(
        self, measure: Callable[[nn.Module], Measured], model: nn.Module, *, iteration: int
    ):
        """
        Args:
            measure: called in the thread.
            model: what it is given, which nobody else may change from now on.
            iteration: the one that the model's weights are of.
        """
        self.weights = model.state_dict()
        self.iteration = iteration
        self._abandoned = abandoned = threading.Event()

        def stop_if_abandoned(module: nn.Module, inputs: Any) -> None:
            if abandoned.is_set():
                raise AbandonedError

        # Copies of the model take it along, so that it is asked before each batch.
        model.register_forward_pre_hook(stop_if_abandoned)
        device = next(model.parameters()).device
        ready = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        self._measured: Measured | None = None
        self._problem: BaseException | None = None
        # No executor: its threads must not fork, which a loader's workers are made by.
        task = (measure, model, device, ready)
        self._thread = threading.Thread(target=self._run, args=task, name="evaluation")
        self._thread.start()

    def _run(
        self,
        measure: Callable[[nn.Module], Measured],
        model: nn.Module,
        device: torch.device,
        ready: torch.cuda.Event | None,
    ) -> None:
        try:
            with own_stream(device, ready):
                self._measured = measure(model)
        except AbandonedError:
            pass
        except BaseException as problem:
            self._problem = problem

    def raise_if_failed(self) -> None:
        if self._problem is not None:
            raise self._problem

    def result(self) -> Measured:
        """Waits for what was measured, or raises what the thread has raised."""
        self._thread.join()
        self.raise_if_failed()
        return self._measured

    def abandon(self) -> None:
        """Ends the thread before its next batch, and waits for that."""
        self._abandoned.set()
        self._thread.join()


@contextmanager
def own_stream(device: torch.device, ready: torch.cuda.Event | None) -> Iterator[None]:
    """Lets a GPU compute beside what other threads ask of it, once ``ready`` has happened."""
    if ready is None:
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_event(ready)
    with torch.cuda.stream(stream):
        try:
            yield
        finally:
            # Afterwards the model's memory may go to others.
            stream.synchronize()


def frozen_copy(model: nn.Module, weights: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """A copy for evaluation, with other weights if they are given."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    copied.zero_grad()
    if weights is not None:
        copied.load_state_dict(weights)
    return copied


class OverlappedEvaluations(Evaluations):
    """Evaluates a copy of the model while the training goes on, and takes in later what it finds.

    This happens at the next evaluation or after the last iteration, whichever comes first, and
    waits if it must: the moment follows from the settings and not from anybody's speed. A
    checkpoint in between holds the weights that are being evaluated, and a training that is
    resumed from it evaluates them again. The last evaluation has nothing to overlap with.
    """

    def __init__(self, period: int, evaluate: Callable[[], Any], best: BestModel):
        """
        Args:
            period: iterations; 0 evaluates after the last one only.
            evaluate: evaluates the training's model, now.
            best: compares the results, and is asked when the training shall end.
        """
        super().__init__(0, evaluate)
        self._overlap_period = period
        self._best = best
        self._running: BackgroundEvaluation | None = None
        self._resumed: Mapping[str, Any] | None = None

    def before_train(self) -> None:
        if self._resumed is not None:
            self._start(self._resumed["iteration"], self._resumed["weights"])
            self._resumed = None

    def after_step(self) -> None:
        if self._running is not None:
            self._running.raise_if_failed()
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter:
            self._take_in()
        elif self._overlap_period and done % self._overlap_period == 0:
            self._take_in()
            if self._best.is_exhausted():
                # The results that stay must be those of the weights that do.
                self._do_eval()
                self._best.compare(done)
                self._best.stop_if_exhausted()
            else:
                self._start(self.trainer.iter)

    def after_train(self) -> None:
        if self._running is not None:
            self._running.abandon()
        super().after_train()

    def _start(self, iteration: int, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        model = self.trainer.evaluated_copy(weights)
        measure = self.trainer.measure
        self._running = BackgroundEvaluation(measure, model, iteration=iteration)

    def _take_in(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        measured = running.result()
        self.trainer.take_in(measured)
        self.trainer.history.write_at(running.iteration, measured)
        self._best.compare(running.iteration + 1, running.weights)

    def state_dict(self) -> dict[str, Any]:
        if self._running is None:
            return {}
        # In their own iteration they are the weights that the checkpoint holds anyway.
        is_present = self._running.iteration == self.trainer.iter
        weights = None if is_present else self._running.weights
        return {"iteration": self._running.iteration, "weights": weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._resumed = state


def check_overlap(cfg: CfgNode) -> None:
    """Raises ValueError for what TEST.OVERLAP does not go with."""
    obstacles = {
        f"{comm.get_world_size()} processes, which would exchange results and gradients in any "
        "order": comm.get_world_size() > 1,
        "SOLVER.COMPILE or TEST.COMPILE, since torch.compile is made for one thread at a time": (
            cfg.SOLVER.COMPILE or cfg.TEST.COMPILE
        ),
        "WANDB_PROJECT, since W&B takes no value of an earlier iteration": cfg.WANDB_PROJECT,
    }
    found = [obstacle for obstacle, is_there in obstacles.items() if is_there]
    if cfg.TEST.OVERLAP and found:
        raise ValueError(f"TEST.OVERLAP does not go with {found[0]}; set it to False")
