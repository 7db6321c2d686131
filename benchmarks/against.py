"""Training steps, inference and losses of this checkout against another checkout's."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import report

ROUNDS, WARM_UP = 10, 3
SIDE = Path(__file__).with_name("side.py")
# As `make train` has it: the idle side does not spin, and glibc keeps the memory of a step.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
}


class Side:
    """A process that works in a checkout, one measurement at a time."""

    def __init__(self, folder: Path, args: argparse.Namespace):
        if not (folder / "rock_d2").is_dir():
            raise FileNotFoundError(f"--other: {folder} is no checkout, it has no folder rock_d2")
        self.folder = folder
        settings = ["MODEL.DEVICE", args.device, "SOLVER.IMS_PER_BATCH", str(args.batch_size)]
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(folder.resolve())}
        if args.threads:
            environment["OMP_NUM_THREADS"] = str(args.threads)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SIDE.read_text(), *args.config, *settings, *args.opts],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names = self._answer().split(";")

    def _answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            raise OSError(f"{self.folder}: the process there has failed, see above")
        return line

    def measure(self, name: str) -> float:
        print(name, file=self.process.stdin, flush=True)
        return float(self._answer())


def run(args: argparse.Namespace) -> None:
    if args.other is None:
        raise ValueError("against needs --other, the folder of the other checkout")
    folders = {"other": args.other, "this": Path(__file__).parents[1]}
    sides = {name: Side(folder, args) for name, folder in folders.items()}
    num_rounds = args.rounds or ROUNDS
    for name in sides["this"].names:
        rounds = [
            [side.measure(name) for side in sides.values()] for _ in range(WARM_UP + num_rounds)
        ]
        times = dict(zip(sides, np.array(rounds)[WARM_UP:].T, strict=True))
        title = f"{name} of {args.config[0]}, batch {args.batch_size}, {args.device}"
        file = args.json and args.json.with_stem(f"{args.json.stem}, {name}")
        report(times, title=title, images=args.batch_size, file=file)
