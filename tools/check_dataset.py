#!/usr/bin/env python
"""Reads everything of registered data sets once and reports every fault.

    python tools/check_dataset.py rooms_train rooms_val
    python tools/check_dataset.py --import my_data.py kitchens_train kitchens_val

Beside what cannot be read, labels are found that look like another unit, other axes, or another
image. Sets that are named together may not share an image. Exit code 0 if all is well, 1 if not.
"""

import argparse
import os
import sys

from tabulate import tabulate

from rock_d2.data.datasets.checks import DatasetReport, check_dataset, shared_pictures
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.tasks import TASK_REGISTRY


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument("datasets", nargs="+", metavar="NAME", help="registered names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that read")
    return parser


def show(name: str, report: DatasetReport) -> None:
    for problem in report.problems:
        print(f"{name}: {problem}")
    print(f"\n{name}: {report.num_images} images")
    shares = [(task, f"{100 * share:.1f} %") for task, share in report.coverage.items()]
    print(tabulate(shares, headers=["label", "known pixels"]))
    print("\n".join(f"{what}: {number}" for what, number in report.numbers.items()))
    print(f"{name}: {len(report.problems)} problem(s)\n")


def main(args: argparse.Namespace) -> int:
    check_registered(args.datasets, "NAME")
    tasks = [task() for _, task in TASK_REGISTRY]
    reports: dict[str, DatasetReport] = {}
    for name in args.datasets:
        try:
            reports[name] = check_dataset(name, tasks, num_processes=args.jobs)
        except (OSError, ValueError) as error:
            reports[name] = DatasetReport([str(error)])
        show(name, reports[name])
    shared = list(shared_pictures(reports))
    for problem in shared:
        print(problem)
    return int(bool(shared) or any(report.problems for report in reports.values()))


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(parse(make_parser())))
