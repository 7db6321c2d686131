"""Started by test_launch.py: two processes that exchange numbers until a signal asks for the end.

As a training does it, and without the seconds that its imports take.
"""

import argparse
import sys
import time

import torch
from detectron2.utils import comm
from torch import distributed

from rock_d2.engine.ending import Interrupted, Refused
from rock_d2.engine.launch import launch_training
from rock_d2.engine.signals import StopSignals

TIMEOUT = 60


def exchange(args: argparse.Namespace) -> None:
    if args.refuse:
        raise Refused("it cannot be")
    signals = StopSignals(timeout=TIMEOUT)
    signals.install()
    groups = (comm._get_global_gloo_group(), comm._LOCAL_PROCESS_GROUP, signals._group)
    patience = {g._get_backend(torch.device("cpu")).options._timeout.seconds for g in groups}
    print(f"process {comm.get_rank()}: groups wait {patience} s", flush=True)
    while True:
        signals.begin_exchange()
        total = torch.ones(())
        distributed.all_reduce(total)
        print(f"process {comm.get_rank()}: {total:.0f} in all", flush=True)
        if signals.agreed():
            raise Interrupted(f"asked by signal {signals.agreed()}")
        time.sleep(0.02)


if __name__ == "__main__":
    arguments = argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    arguments.refuse = "refuse" in sys.argv
    launch_training(exchange, arguments, device="cpu", timeout=TIMEOUT)
