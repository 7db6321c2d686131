"""Starts a training in one process or many, which it starts itself or torchrun has started."""

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import torch
from detectron2.utils import comm
from torch import distributed

from rock_d2.engine.children import Children
from rock_d2.engine.ending import ProcessLost, exit_with_code
from rock_d2.engine.lost import naming_the_lost

Main = Callable[[argparse.Namespace], None]


class Place(NamedTuple):
    """Which of all processes this is: the ``local_rank``-th of ``local_size`` on its machine."""

    machine: int
    num_machines: int
    local_rank: int
    local_size: int


class Meeting(NamedTuple):
    """Where and how processes meet.

    Attributes:
        host, port: of the store on the first machine.
        device: MODEL.DEVICE.
        timeout: seconds that processes wait for each other.
    """

    host: str
    port: int
    device: str
    timeout: float


def launch_training(
    main: Main, args: argparse.Namespace, *, device: str, timeout: float = 1800
) -> None:
    """Calls ``main(args)`` in each process of the training.

    Under torchrun these are the processes it has started. Otherwise ``args.num_gpus`` are started
    on each machine, with GPUs or without. (Detectron2's ``launch`` takes GPUs only, and passes on
    neither signals nor exit codes.)

    Args:
        main: of a module's top level.
        args: of Detectron2's ``default_argument_parser``.
        device: MODEL.DEVICE.
        timeout: seconds that processes wait for each other.
    """
    if started_by_torchrun():
        join_torchrun(device, timeout)
        _run_joined(main, args)
    elif args.num_gpus * args.num_machines <= 1:
        main(args)
    else:
        program = Path(sys.argv[0]).stem
        try:
            meeting, store = _arrange(args, device, timeout)
        except RuntimeError as problem:
            reason = str(problem).splitlines()[0]
            sys.exit(
                f"{program}: --dist-url {args.dist_url} cannot be used ({reason}): give another "
                "port or, with one machine, auto"
            )
        code = Children(program).run(_child, (main, args, meeting), args.num_gpus)
        del store
        if code:
            sys.exit(code)


def check_processes(args: argparse.Namespace, device: str) -> None:
    """Raises ValueError for processes that cannot be started."""
    if num_processes(args) <= 1:
        return
    if ":" in device:
        raise ValueError(
            f"MODEL.DEVICE is {device}; several processes take a GPU each: set MODEL.DEVICE cuda"
        )
    if started_by_torchrun():
        here, option = int(os.environ["LOCAL_WORLD_SIZE"]), "--nproc_per_node"
    else:
        here, option = args.num_gpus, "--num-gpus"
    if device != "cpu" and here > torch.cuda.device_count():
        raise ValueError(f"{option} is {here}, but PyTorch sees {torch.cuda.device_count()} GPU(s)")
    if not started_by_torchrun():
        _check_meeting(args)


def _check_meeting(args: argparse.Namespace) -> None:
    """Raises ValueError for processes that could not find each other."""
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"--machine-rank is {args.machine_rank}; with --num-machines {args.num_machines} it "
            f"must be 0 to {args.num_machines - 1}"
        )
    if args.dist_url == "auto" and args.num_machines == 1:
        return
    found = re.fullmatch(r"tcp://(?:[^/:]+|\[[^]/]+\]):(\d{1,5})", args.dist_url)
    if not found or int(found[1]) >= 2**16:
        raise ValueError(
            f"--dist-url is {args.dist_url}; it must be tcp://HOST:PORT with a free port of the "
            "first machine, or auto where there is one machine"
        )


def num_processes(args: argparse.Namespace) -> int:
    """Of the whole training, before it has started."""
    if started_by_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return max(1, args.num_gpus * args.num_machines)


def _arrange(
    args: argparse.Namespace, device: str, timeout: float
) -> tuple[Meeting, distributed.Store | None]:
    """Opens the store on the first machine.

    It is this process's, so that the others can still ask it when one of them is lost.
    """
    address = urlsplit("tcp://127.0.0.1:0" if args.dist_url == "auto" else args.dist_url)
    host, port = address.hostname, address.port
    if args.machine_rank > 0:
        return Meeting(host, port, device, timeout), None
    store = distributed.TCPStore(host, port, is_master=True, wait_for_workers=False)
    return Meeting(host, store.port, device, timeout), store


def _child(local_rank: int, main: Main, args: argparse.Namespace, meeting: Meeting) -> None:
    """The work of one process that this module has started."""
    # Until the training handles signals, they end it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    place = Place(args.machine_rank, args.num_machines, local_rank, args.num_gpus)
    try:
        with exit_with_code(Path(sys.argv[0]).stem):
            _meet(meeting, place)
        _run_joined(main, args)
    except Exception:
        # PyTorch's spawn would hand it to a parent that waits for it, and ours does not.
        traceback.print_exc()
        sys.exit(1)


def _meet(meeting: Meeting, place: Place) -> None:
    patience = timedelta(seconds=meeting.timeout)
    try:
        store = distributed.TCPStore(meeting.host, meeting.port, timeout=patience)
        _join(store, place, meeting.device, patience)
    except RuntimeError as problem:
        raise ProcessLost(
            f"the processes have not met at {meeting.host}:{meeting.port}: "
            f"{str(problem).splitlines()[0]}"
        ) from None


def _run_joined(main: Main, args: argparse.Namespace) -> None:
    """One of several processes; what it finds when another is gone becomes one line."""
    try:
        with exit_with_code(Path(sys.argv[0]).stem), naming_the_lost():
            main(args)
    finally:
        distributed.destroy_process_group()


def num_restarts() -> int:
    """How often torchrun has started the processes again because one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def join_torchrun(device: str, timeout: float) -> None:
    """Joins torchrun's processes, also as Detectron2 knows them."""
    patience = timedelta(seconds=timeout)
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=patience))
    local_size = int(os.environ["LOCAL_WORLD_SIZE"])
    machine, local_rank = divmod(rank, local_size)
    # torchrun's store outlives a restart, and with it the addresses of processes that are gone.
    store = distributed.PrefixStore(f"start {num_restarts()}", store)
    _join(store, Place(machine, world_size // local_size, local_rank, local_size), device, patience)


def _join(store: distributed.Store, place: Place, device: str, patience: timedelta) -> None:
    """Makes this process one of all, also as Detectron2 knows them."""
    if device != "cpu":
        torch.cuda.set_device(place.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_size))
    distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        store=store,
        rank=place.machine * place.local_size + place.local_rank,
        world_size=place.num_machines * place.local_size,
        timeout=patience,
    )
    # Groups do not inherit the timeout, and Detectron2 makes its group for objects without one.
    objects = distributed.new_group(backend="gloo", timeout=patience)
    comm._get_global_gloo_group = lambda: objects
    for machine in range(place.num_machines):
        first = machine * place.local_size
        ranks = list(range(first, first + place.local_size))
        group = distributed.new_group(ranks, timeout=patience)
        if machine == place.machine:
            # Detectron2's own launcher sets it too; v0.6 has no function for that.
            comm._LOCAL_PROCESS_GROUP = group
