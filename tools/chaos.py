#!/usr/bin/env python
"""Kills trainings at random moments: in the end nothing must have been lost.

    python tools/chaos.py --kills 50 --seed 0
    python tools/chaos.py --kills 3 --processes 2

Trains a tiny model on rooms_train (datasets/README.md) twice by torchrun: undisturbed, and with
SIGKILL at random moments, every other one while a checkpoint is written; torchrun restarts the
processes. Exit code 0 if weights, optimizer, random states and metrics are equal bit for bit.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from rock_d2.engine.command_line import one_line_errors, parse, tool_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fuzz.chaos import run_chaos


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="default: a temporary one")
    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        args = parse(parser, argv)
        folder = args.output_dir or Path(temporary)
        counts = {"processes": args.processes, "kills": args.kills}
        events, differences = run_chaos(folder, **counts, seed=args.seed)
    print(tabulate(events.items(), headers=["killed", "times"]))
    print(f"{len(differences)} differences at the end", *differences[:10], sep="\n  ")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
