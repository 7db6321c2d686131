#!/usr/bin/env python
"""Kills trainings at random moments and resumes them: in the end nothing must have been lost.

    python tools/chaos.py --kills 50 --seed 0
    python tools/chaos.py --kills 3 --processes 2

Trains a tiny model on rooms_train (datasets/README.md) twice: in peace, and with SIGKILL at random
moments, every other one while a checkpoint is written, and once with a full disk. Exit code 0 if
weights, optimizer, random states and metrics are equal bit for bit. With --processes 2, torchrun
starts the training, one process is killed each time, and --max-restarts resumes it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="more than one: by torchrun")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="default: a temporary one")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    # Not at the top: --help need not wait for PyTorch.
    from tabulate import tabulate

    from fuzz.chaos import ChaosError, run_chaos
    from fuzz.torchrun_chaos import run_torchrun_chaos

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.output_dir or Path(temporary)
        options = {"kills": args.kills, "seed": args.seed}
        with one_line("chaos", ChaosError):
            if args.processes > 1:
                script = Path(__file__).with_name("train_net.py")
                outcome = run_torchrun_chaos(folder, script, processes=args.processes, **options)
            else:
                outcome = run_chaos(folder, **options)
    print(tabulate(outcome.events.items(), headers=["a process", "times"]))
    print(f"{outcome.iterations} iterations, {len(outcome.differences)} differences at the end")
    for place in outcome.differences[:10]:
        print(f"  {place}")
    return int(bool(outcome.differences))


if __name__ == "__main__":
    sys.exit(main(parse_args()))
