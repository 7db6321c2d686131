"""Normalizers of losses that do not depend on how a batch is split over processes."""

import torch
from detectron2.utils import comm
from torch import distributed


def mean_over_processes(count: torch.Tensor) -> torch.Tensor:
    """Return the mean of a count, such as of labels, over all processes; at least 1 in total.

    DistributedDataParallel averages gradients, so a loss over this mean equals the loss of one
    process that had the whole batch.
    """
    return _reduce(count, distributed.ReduceOp.SUM).clamp(min=1) / comm.get_world_size()


def known_mean(losses: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean of finite losses where ``known`` is true, over the batch of all processes."""
    return (losses * known).sum() / mean_over_processes(known.sum())


def share_over_processes(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return the share of a count in another one, over all processes; 0 of nothing."""
    sums = [_reduce(count, distributed.ReduceOp.SUM) for count in (part, whole)]
    return sums[0] / sums[1].clamp(min=1)


def max_over_processes(value: torch.Tensor) -> torch.Tensor:
    return _reduce(value, distributed.ReduceOp.MAX)


def _reduce(value: torch.Tensor, operation: "distributed.ReduceOp.RedOpType") -> torch.Tensor:
    value = value.detach().float()
    if comm.get_world_size() == 1:
        return value
    value = value.clone()
    distributed.all_reduce(value, operation)
    return value
