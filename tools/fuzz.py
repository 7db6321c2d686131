#!/usr/bin/env python
"""Feeds damaged data sets, images, labels, configs, checkpoints and uploads to the project.

    python tools/fuzz.py --cases 300 --seed 0
    python tools/fuzz.py --only json --first 17 --cases 1 --seed 0

Each must be taken, or refused by an error that names the file; exit code 1 if any is not. The
inputs are made in a temporary folder; nothing else is written.
"""

import argparse
import sys
from pathlib import Path

from rock_d2.engine.arguments import tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--cases", type=int, default=300, help="of each kind (default: %(default)s)"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="KIND", help="such as json or checkpoints")
    parser.add_argument("--limit", type=float, default=20, help="seconds a case (%(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    # Not at the top: --help need not wait for PyTorch.
    from tabulate import tabulate

    # The converter of NYUv2's files lies beside the data.
    sys.path.append(str(Path(__file__).parents[1] / "datasets"))
    from fuzz.fuzzing import FAULTS, fuzz, summary
    from fuzz.targets import target_names

    names = target_names()
    unknown = [name for name in args.only or () if name not in names]
    if unknown:
        print(f"fuzz: --only takes {', '.join(names)}, not {unknown[0]}", file=sys.stderr)
        return 2
    options = {"first": args.first, "count": args.cases, "seed": args.seed, "limit": args.limit}
    cases = []
    for name in args.only or names:
        for case in fuzz(name, **options):
            cases.append(case)
            if case.outcome in FAULTS:
                print(f"{name} {case.number}: {case.outcome}: {case.change}\n{case.text}\n")
    print(tabulate(summary(cases), headers="keys"))
    return int(any(case.outcome in FAULTS for case in cases))


if __name__ == "__main__":
    sys.exit(main(parse_args()))
