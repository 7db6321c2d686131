"""Several processes of one training: started by torchrun, or here as torchrun would."""

import argparse
import os
import sys
from datetime import timedelta

import torch
from detectron2.utils import comm
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rock_d2.engine.signals import INTERRUPTED


def num_processes(args: argparse.Namespace) -> int:
    if distributed.is_torchelastic_launched():
        return int(os.environ["WORLD_SIZE"])
    return args.num_gpus * args.num_machines


def check_devices(args: argparse.Namespace, device: str) -> None:
    here, count = int(os.environ.get("LOCAL_WORLD_SIZE", args.num_gpus)), torch.cuda.device_count()
    if num_processes(args) > 1 and device != "cpu" and (":" in device or here > count):
        raise ValueError(
            f"{here} processes need as many GPUs, of which PyTorch sees {count}, and MODEL.DEVICE "
            f"cuda, not {device}"
        )


def launch(args: argparse.Namespace) -> None:
    """Run this process's own command in ``--num-gpus`` processes and exit as they do."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // args.num_gpus)))
    # A signal waits for the end of an evaluation, and the checkpoint after it.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1800")
    place = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    if args.num_machines > 1:
        place = {"rdzv_backend": "static", "rdzv_configs": {"rank": args.machine_rank}}
        place["rdzv_endpoint"] = args.dist_url.removeprefix("tcp://")
    config = LaunchConfig(
        min_nodes=args.num_machines,
        max_nodes=args.num_machines,
        nproc_per_node=args.num_gpus,
        run_id="rock_d2",
        max_restarts=0,
        **place,
    )
    try:
        elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
    except ChildFailedError as problem:
        codes = {failure.exitcode for failure in problem.failures.values()}
        sys.exit(INTERRUPTED if INTERRUPTED in codes else 1)
    except SignalException:
        # The launcher has passed the signal on, and waited for the processes.
        sys.exit(INTERRUPTED)


def join(device: str, *, timeout: float) -> None:
    """Join torchrun's processes, if there are any; none waits longer than ``timeout`` seconds."""
    if not distributed.is_torchelastic_launched():
        return
    if device != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    limit = timedelta(seconds=timeout)
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=limit))
    distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        # torchrun's store outlives a restart, and with it the addresses of processes that are gone.
        store=distributed.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store),
        rank=rank,
        world_size=world_size,
        timeout=limit,
    )
    # Detectron2's main branch; what uses the group in v0.6 is not used here.
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
