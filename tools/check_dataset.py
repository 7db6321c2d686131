#!/usr/bin/env python
"""Reads everything of a registered data set once and reports every problem found.

    python tools/check_dataset.py rooms_train rooms_val

Exit code 0 if all is well, 1 if anything is wrong.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rock_d2.engine.arguments import tool_parser

if TYPE_CHECKING:
    from rock_d2.data.datasets.checks import DatasetReport


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("datasets", nargs="+", metavar="NAME", help="registered names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that read")
    return parser.parse_args()


def show(name: str, report: "DatasetReport") -> None:
    from tabulate import tabulate

    for problem in report.problems:
        print(f"{name}: {problem}")
    objects = sorted(report.objects.items(), key=lambda item: -item[1])
    print(f"\n{name}: {report.num_images} images, {report.objects.total()} boxes")
    print(tabulate(objects, headers=["class", "boxes"]))
    shares = [(task, f"{100 * share:.1f} %") for task, share in report.coverage.items()]
    print(tabulate(shares, headers=["label", "known pixels"]))
    print(f"{name}: {len(report.problems)} problem(s)\n")


def main(args: argparse.Namespace) -> int:
    # Not at the top: --help need not wait for PyTorch.
    from detectron2.data import DatasetCatalog

    from rock_d2.data.datasets.checks import DatasetReport, check_dataset
    from rock_d2.tasks import TASK_REGISTRY

    unknown = set(args.datasets) - set(DatasetCatalog.list())
    if unknown:
        print(f"check_dataset: not registered: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    tasks = [task() for _, task in TASK_REGISTRY]
    failed = False
    for name in args.datasets:
        try:
            report = check_dataset(name, tasks, num_processes=args.jobs)
        except (OSError, ValueError) as error:
            report = DatasetReport([str(error)])
        show(name, report)
        failed |= bool(report.problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(parse_args()))
