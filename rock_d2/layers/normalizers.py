"""Normalisers of losses that do not depend on how a batch is split.

It is split over processes, and over the parts of it that a process sees one after another.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from detectron2.utils import comm
from torch import distributed


def mean_over_processes(count: torch.Tensor) -> torch.Tensor:
    """A count, such as of labels, to the mean of all processes and parts; at least 1 in total.

    DistributedDataParallel averages gradients, so a loss over this mean equals the loss of one
    process that had the whole batch.
    """
    total = _reduce(count, distributed.ReduceOp.SUM).clamp(min=1)
    return total / comm.get_world_size() / _num_parts


def max_over_processes(value: torch.Tensor) -> torch.Tensor:
    """The largest value of all processes and parts."""
    return _reduce(value, distributed.ReduceOp.MAX)


class SplitBatch:
    """What a batch counts as a whole while the model sees it in parts.

    First each part runs inside ``counting``, with no gradient; then each inside ``counted``, where
    every loss is that of the whole batch, so that their mean is the loss of the whole batch.
    """

    def __init__(self) -> None:
        self._counts: list[list[torch.Tensor]] = []

    @contextmanager
    def counting(self) -> Iterator[None]:
        counts = []

        def record(value: torch.Tensor, operation: "distributed.ReduceOp.RedOpType"):
            counts.append(value)
            return value

        with _over_parts(record, num_parts=1):
            yield
        self._counts.append(counts)

    @contextmanager
    def counted(self) -> Iterator[None]:
        # A model asks for the same counts in the same order, whatever it is fed with.
        of_all_parts = zip(*self._counts, strict=True)

        def look_up(value: torch.Tensor, operation: "distributed.ReduceOp.RedOpType"):
            of_parts = torch.stack(next(of_all_parts))
            return of_parts.amax(0) if operation == distributed.ReduceOp.MAX else of_parts.sum(0)

        with _over_parts(look_up, num_parts=len(self._counts)):
            yield


def _only_part(value: torch.Tensor, operation: "distributed.ReduceOp.RedOpType") -> torch.Tensor:
    return value


_combine: Callable[..., torch.Tensor] = _only_part
_num_parts = 1


@contextmanager
def _over_parts(combine: Callable[..., torch.Tensor], num_parts: int) -> Iterator[None]:
    global _combine, _num_parts
    before = _combine, _num_parts
    _combine, _num_parts = combine, num_parts
    try:
        yield
    finally:
        _combine, _num_parts = before


def _reduce(value: torch.Tensor, operation: "distributed.ReduceOp.RedOpType") -> torch.Tensor:
    value = _combine(value.detach().float(), operation)
    if comm.get_world_size() == 1:
        return value
    value = value.clone()
    distributed.all_reduce(value, operation)
    return value
