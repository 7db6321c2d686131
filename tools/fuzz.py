#!/usr/bin/env python
"""Feeds damaged data sets, images, labels, configs, settings and checkpoints to the project.

    python tools/fuzz.py --cases 300 --seed 0
    python tools/fuzz.py --only json --first 17 --cases 1 --seed 0

Each must be taken, or refused by an error that names the file; exit code 1 if any is not. The
inputs are made in a temporary folder; nothing else is written.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from rock_d2.engine.command_line import one_line_errors, parse, tool_parser

ROOT = Path(__file__).resolve().parents[1]
# Before this file's folder, where "fuzz" is this file.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "datasets")]
from fuzz.fuzzing import FAULTS, TARGETS, fuzz, summary  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("--cases", type=int, default=300, help="of each kind (default: %(default)s)")
    add("--first", type=int, default=0, help="number of the first case")
    add("--seed", type=int, default=0)
    add("--only", nargs="+", choices=TARGETS, metavar="KIND", help=", ".join(TARGETS))
    add("--limit", type=float, default=20, help="seconds a case (default: %(default)s)")
    with one_line_errors():
        args = parse(parser, argv)
    options = {"first": args.first, "count": args.cases, "seed": args.seed, "limit": args.limit}
    cases = []
    for name in args.only or TARGETS:
        for case in fuzz(name, **options):
            cases.append(case)
            if case.outcome in FAULTS:
                print(f"{name} {case.number}: {case.outcome}: {case.change}\n{case.text}\n")
    print(tabulate(summary(cases), headers="keys"))
    sys.exit(any(case.outcome in FAULTS for case in cases))


if __name__ == "__main__":
    main()
