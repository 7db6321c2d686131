"""What it takes to start: importing, --help, and a training's first iteration.

Each is a process of its own.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from rock_d2.benchmarks.timing import report, take_turns

ROUNDS = 5
TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"
FIRST_ITERATION = """
import sys
from detectron2.utils.events import EventStorage
from rock_d2 import model_zoo
from rock_d2.engine.trainer import RockTrainer
cfg = model_zoo.get_config(sys.argv[1])
cfg.merge_from_list(sys.argv[2:])
with EventStorage():
    RockTrainer(cfg).run_step()
"""


def run(args: argparse.Namespace) -> None:
    settings = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", args.device]
    settings += ["DATASETS.TRAIN", f"('{args.dataset}',)", "DATALOADER.NUM_WORKERS", "0"]
    settings += ["SOLVER.IMS_PER_BATCH", str(args.batch_size), *args.opts]
    resident = ["DATALOADER.RESIDENT", "True"]
    commands = {
        "import torch": ["-c", "import torch"],
        "import detectron2.engine": ["-c", "import detectron2.engine"],
        "import rock_d2": ["-c", "import rock_d2"],
        "import rock_d2 and its trainer": ["-c", "import rock_d2.engine.trainer"],
        "train_net.py --help": [str(TOOL), "--help"],
        "to the first iteration": ["-c", FIRST_ITERATION, args.config, *settings],
        "the same, from memory": ["-c", FIRST_ITERATION, args.config, *settings, *resident],
    }
    unknown = [name for name in args.only or () if name not in commands]
    if unknown:
        raise ValueError(f"--only: {unknown[0]!r} is none of {', '.join(commands)}")
    candidates = {
        name: partial(start, command)
        for name, command in commands.items()
        if name in (args.only or commands)
    }
    times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=1)
    report(times, title=f"start-up, {args.config}", file=args.json)


def start(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2])
