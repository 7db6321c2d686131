"""What it takes to start: importing, --help, and a training's first iteration.

Each is a process of its own.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rock_d2.benchmarks.timing import chosen, report, spread, take_turns

ROUNDS = 5
TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"
# As tools/train_net.py does it, and with nothing spared.
IMPORTS = """
from rock_d2.imports import collector_resting
with collector_resting():
    from rock_d2.engine.trainer import RockTrainer
"""
ALL_IMPORTS = """
import torch._dynamo, detectron2.utils.visualizer
from rock_d2.engine.trainer import RockTrainer
"""
FIRST_ITERATION = """
import sys
from detectron2.utils.events import EventStorage
from rock_d2 import model_zoo
cfg = model_zoo.get_config(sys.argv[1])
cfg.merge_from_list(sys.argv[2:])
trainer = RockTrainer(cfg)
with EventStorage():
    trainer.run_step()
"""


def run(args: argparse.Namespace) -> None:
    settings = [args.config, "MODEL.WEIGHTS", "", "MODEL.DEVICE", args.device]
    settings += ["DATASETS.TRAIN", f"('{args.dataset}',)", "DATALOADER.NUM_WORKERS", "0"]
    settings += ["SOLVER.IMS_PER_BATCH", str(args.batch_size), *args.opts]
    files = [*settings, "DATALOADER.RESIDENT", "False"]
    memory = [*settings, "DATALOADER.RESIDENT", "True"]
    commands = {
        "import torch": ["-c", "import torch"],
        "import detectron2.engine": ["-c", "import detectron2.engine"],
        "import rock_d2": ["-c", "import rock_d2"],
        "import rock_d2 and its trainer": ["-c", "import rock_d2.engine.trainer"],
        "train_net.py --help": [str(TOOL), "--help"],
        "to the first iteration": ["-c", IMPORTS + FIRST_ITERATION, *files],
        "the same, from memory": ["-c", IMPORTS + FIRST_ITERATION, *memory],
        "from files, nothing spared": ["-c", ALL_IMPORTS + FIRST_ITERATION, *files],
    }
    candidates = {name: Start(commands[name], args.threads) for name in chosen(commands, args.only)}
    rounds = args.rounds or ROUNDS
    times = take_turns(candidates, rounds=rounds, warm_up=1)
    report(
        times,
        title=f"start-up, {args.config}",
        columns={
            "processor s": {
                name: spread(start.processor_seconds[-rounds:])
                for name, start in candidates.items()
            }
        },
        file=args.json,
    )


class Start:
    """Starts a process and waits for its end; keeps what it took of the processors."""

    def __init__(self, command: Sequence[str], threads: int | None):
        self.command = [sys.executable, *command]
        self.environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        self.processor_seconds: list[float] = []

    def __call__(self) -> None:
        before = np.sum(os.times()[2:4])
        done = subprocess.run(
            self.command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(done.stderr.strip().rpartition("\n")[2])
        # Of child processes, user and system.
        self.processor_seconds.append(float(np.sum(os.times()[2:4]) - before))
