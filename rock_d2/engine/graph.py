"""A step recorded as a CUDA graph and played back (SOLVER.CUDA_GRAPH)."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from rock_d2.engine.step import TrainingStep
from rock_d2.modeling.ssd import TrainingBatch

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Steps of each shape before it is recorded, as PyTorch advises: they choose algorithms and make
# what is made once.
WARM_UP = 3


def step_class(
    cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer
) -> type[TrainingStep]:
    """GraphStep if SOLVER.CUDA_GRAPH asks for it and it can be; if it cannot, the log says why."""
    if not cfg.SOLVER.CUDA_GRAPH:
        return TrainingStep
    problem = graph_problem(cfg, model, optimizer)
    if problem:
        logger.warning(f"SOLVER.CUDA_GRAPH: no step is recorded, since {problem}")
        return TrainingStep
    return GraphStep


def graph_problem(cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """Why a training cannot be recorded; "" if it can."""
    if comm.get_world_size() > 1:
        return f"the training has {comm.get_world_size()} processes"
    if torch.are_deterministic_algorithms_enabled():
        return "SOLVER.DETERMINISTIC has operations that the host takes part in"
    if cfg.SOLVER.ACCUMULATE > 1:
        return "SOLVER.ACCUMULATE splits its batches"
    if cfg.TEST.OVERLAP:
        return "TEST.OVERLAP's thread waits for the whole GPU, which may not happen meanwhile"
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "fp16":
        return "the host scales fp16's loss (SOLVER.AMP.DTYPE: bf16 needs no scale)"
    if not hasattr(model, "compute_losses"):
        return f"{type(model).__name__} does not compute its losses apart from the host"
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        return f"the host decides whether {type(optimizer).__name__} steps; it is not fused"
    if next(model.parameters()).device.type != "cuda":
        return "MODEL.DEVICE is no GPU"
    return ""


def first_cause(problem: BaseException) -> BaseException:
    """What failed first: of the end of a recording CUDA says only that something did before."""
    while isinstance(problem.__context__, RuntimeError):
        problem = problem.__context__
    return problem


class Recorder:
    """Records what is done to tensors, as a CUDA graph."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # One after another the graphs use the same memory.
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], T]) -> T:
        """Runs a function on the stream that will be recorded."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            found = function()
        current.wait_stream(self._stream)
        return found

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        """What does the same again, to the same tensors; it is not done while recording."""
        graph = torch.cuda.CUDAGraph()
        # Meanwhile the thread that pins memory may allocate some.
        modes = {"pool": self._pool, "stream": self._stream, "capture_error_mode": "thread_local"}
        current = torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, **modes):
                found = function()
        finally:
            # Older versions of PyTorch stay on the other one where recording fails.
            torch.cuda.set_stream(current)

        def play() -> T:
            graph.replay()
            return found

        return play


class StaticBatch:
    """A place in memory for all batches of a shape, and what has become of their step.

    Attributes:
        tensors: of the batch that is learnt.
        num_warm_ups: steps that were not recorded.
        play: the recorded step, once there is one.
    """

    def __init__(self, batch: TrainingBatch):
        self.tensors = tree_map(torch.clone, batch)
        self.num_warm_ups = 0
        self.play: Callable[[], tuple[dict[str, torch.Tensor], torch.Tensor]] | None = None

    def fill(self, batch: TrainingBatch) -> None:
        for own, new in zip(tree_leaves(self.tensors), tree_leaves(batch), strict=True):
            own.copy_(new)


class GraphStep(TrainingStep):
    """A TrainingStep whose work on the device is recorded, once for each shape of a batch.

    Shapes differ in the number of ground truths, which is padded to few. The first steps of a
    shape are taken as always; so are all from where a recording fails.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        *,
        recorder: Any = None,
        **settings: Any,
    ):
        """
        Args:
            model: an SSD.
            recorder: has the methods of Recorder, which is the default.
            data_loader, optimizer, settings: of TrainingStep.
        """
        super().__init__(model, data_loader, optimizer, **settings)
        self._recorder = recorder or Recorder(self.device)
        self._batches: dict[Any, StaticBatch] = {}
        groups = optimizer.param_groups
        # CUDA's fused optimizers read fp32: another rounding than that of a Python number.
        self._rates = [torch.full((), float(g["lr"]), device=self.device) for g in groups]

    def _learn(self, batch: Sequence[Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        collated = self.model.collate(batch)
        if self._recorder is None:
            return super()._learn(collated)
        shape = tuple((tensor.shape, tensor.dtype) for tensor in tree_leaves(collated))
        if shape not in self._batches:
            self._batches[shape] = StaticBatch(collated)
        static = self._batches[shape]
        static.fill(collated)
        for rate, group in zip(self._rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        if static.play is None:
            return self._learn_unrecorded(static)
        losses, bad = static.play()
        # The next step writes to the same memory, and its guard tells of the losses after that.
        values = torch.stack(list(losses.values()))
        return dict(zip(losses, values.unbind(), strict=True)), bad

    def _learn_unrecorded(
        self, static: StaticBatch
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Takes the step; after enough of them also records it for those to come."""

        def learn() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            return super(GraphStep, self)._learn(static.tensors)

        with self._rates_on_device(capturable=False):
            found = self._recorder.warm_up(learn)
        static.num_warm_ups += 1
        if static.num_warm_ups == WARM_UP:
            # Gradients of the recorded step must be its own.
            self.optimizer.zero_grad()
            try:
                with self._rates_on_device(capturable=True):
                    static.play = self._recorder.record(learn)
            except RuntimeError as problem:
                reason = str(first_cause(problem)).strip().partition("\n")[0]
                logger.warning(f"SOLVER.CUDA_GRAPH: recording fails, steps go on without: {reason}")
                self._recorder = None
                self._batches.clear()
        return found

    def _losses_of(self, part: TrainingBatch) -> dict[str, torch.Tensor]:
        return self.model.compute_losses(part)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        # The optimizer's state has moved, and a recorded step would go on with the old one.
        self._batches.clear()

    @contextmanager
    def _rates_on_device(self, *, capturable: bool) -> Iterator[None]:
        """Lets the optimizer read learning rates that a recording can: the schedule's are numbers.

        Only for now, so that schedule, log and checkpoints find what they always do.
        """
        groups = self.optimizer.param_groups
        before = [dict(group) for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = capturable
        try:
            yield
        finally:
            for group, settings in zip(groups, before, strict=True):
                group.update(settings)
