"""Starts a training in one process or many."""

import os
from collections.abc import Callable
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed


def launch_training(main: Callable[..., Any], args: Any, *, device: str) -> None:
    """Calls ``main(args)`` in each process of the training.

    Under torchrun these are the processes it has started. Otherwise Detectron2 starts one for each
    of ``args.num_gpus``.

    Args:
        main: of a module's top level.
        args: of Detectron2's ``default_argument_parser``.
        device: MODEL.DEVICE.
    """
    if started_by_torchrun():
        join_torchrun(device)
        try:
            main(args)
        finally:
            distributed.destroy_process_group()
        return
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def join_torchrun(device: str) -> None:
    """Joins torchrun's processes, also as Detectron2 knows them."""
    if device != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    local_size = int(os.environ["LOCAL_WORLD_SIZE"])
    for first in range(0, comm.get_world_size(), local_size):
        ranks = range(first, first + local_size)
        group = distributed.new_group(list(ranks))
        if comm.get_rank() in ranks:
            # Detectron2's own launcher sets it too; v0.6 has no function for that.
            comm._LOCAL_PROCESS_GROUP = group
