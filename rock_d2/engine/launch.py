"""Starts a training in one process or many."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed


def launch_training(
    main: Callable[..., Any], args: Any, *, device: str, timeout: float = 1800
) -> None:
    """Calls ``main(args)`` in each process of the training.

    Under torchrun these are the processes it has started. Otherwise Detectron2 starts one for each
    of ``args.num_gpus``.

    Args:
        main: of a module's top level.
        args: of Detectron2's ``default_argument_parser``.
        device: MODEL.DEVICE.
        timeout: seconds that processes wait for each other.
    """
    if started_by_torchrun():
        join_torchrun(device, timeout)
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
        timeout=timedelta(seconds=timeout),
    )


def num_restarts() -> int:
    """How often torchrun has started the processes again because one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def join_torchrun(device: str, timeout: float) -> None:
    """Joins torchrun's processes, also as Detectron2 knows them."""
    if device != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    patience = timedelta(seconds=timeout)
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=patience))
    # torchrun's store outlives a restart, and with it the addresses of processes that are gone.
    store = distributed.PrefixStore(f"start {num_restarts()}", store)
    distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=patience,
    )
    local_size = int(os.environ["LOCAL_WORLD_SIZE"])
    for first in range(0, comm.get_world_size(), local_size):
        ranks = range(first, first + local_size)
        group = distributed.new_group(list(ranks))
        if comm.get_rank() in ranks:
            # Detectron2's own launcher sets it too; v0.6 has no function for that.
            comm._LOCAL_PROCESS_GROUP = group
