#!/usr/bin/env python
"""The paper's tables: trains what they compare, with several seeds, and builds them.

    python tools/reproduce.py 1 --dataset rooms --seeds 3
    python tools/reproduce.py 1 2 5 6 --dataset nyuv2 --seeds 5 --jobs 2 MODEL.DEVICE cuda
    python tools/reproduce.py 1 --dataset rooms --seeds 3 --print-commands | parallel -j 4
    python tools/reproduce.py 1 --dataset rooms --seeds 3 --collect
    python tools/reproduce.py decoders oracle unboxed --dataset rooms --seeds 3
    python tools/reproduce.py 1 --dataset rooms --detector RetinaNet --seeds 3
    python tools/reproduce.py mti2a mti3 mti4 --dataset rooms --seeds 3
    python tools/reproduce.py 7 --dataset cityscapes --seeds 3

TABLE is 1, 2, 3, 5, 6 or 7, or one of

    decoders    what ROCK loses when decoders are switched off at test time
    oracle      true labels in place of predictions: the most that a task can bring
    given       a model that may be given true labels at test time, with and without them
    unboxed     boxes for few images, labels of the tasks for all
    adaptation  from the plain rooms to the rooms, of which one task is labelled
    deep_x      what ROCK brings where X holds shallow or deep features
    fusions     fusions beyond the paper
    mti_detector    MTI-Net before SSD, or before RetinaNet with --detector
    mti_lite0   MTI-Net and its baselines from ImageNet weights, of --dataset rooms

or, of MTI-Net's paper,

    mti2a mti3 mti4 mti7a mtiS2 mtiS3    of --dataset nyud or rooms; mti6 of nyud
    mti2b mti5 mti7b mtiS1               of --dataset pascal

Settings can follow as KEY VALUE pairs; they and --import hold for every run. A run is an ordinary
command line of tools/train_net.py in a folder of its own below the output folder. Finished runs are
kept, and interrupted ones are resumed. The tables are table<N>.md and .csv there, and all metrics
of all runs table<N>_runs.csv.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from rock_d2.engine.command_line import import_module_or_file, one_line_errors, tool_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.outcomes import check_stored_settings
from reproduce.plan import (
    DETECTORS,
    MTI_DATASETS,
    SPLITS,
    Plan,
    available,
)
from reproduce.report import write_reports
from reproduce.runner import Runner, command_line
from reproduce.tables import find_table

TRAIN_NET = Path(__file__).resolve().with_name("train_net.py")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    words = "tables, then settings of the config that hold for every run"
    add("words", nargs="+", metavar="TABLE [KEY VALUE]", help=words)
    datasets = [*SPLITS, *MTI_DATASETS]
    add("--dataset", required=True, choices=datasets, help="data set of all trainings")
    detector = "detector of all trainings (default: %(default)s, the paper's)"
    add("--detector", default="SSD", choices=list(DETECTORS), help=detector)
    add("--seeds", type=int, default=1, metavar="N", help="trainings of each model (default: 1)")
    first = "SEED of each model's first training (default: 1)"
    add("--first-seed", type=int, default=1, metavar="SEED", help=first)
    add("--jobs", type=int, default=1, metavar="N", help="runs side by side (default: 1)")
    factor = "trainings are F times as long as their configs say (default: 1)"
    add("--iterations", type=float, default=1.0, metavar="F", help=factor)
    output = "folder of the runs and tables (default: output/reproduce/<data set>[_<detector>])"
    add("--output", type=Path, metavar="DIR", help=output)
    commands = "run nothing, print the commands that can be run now, one a line"
    add("--print-commands", action="store_true", help=commands)
    collect = "run nothing, build the tables from the runs that are there"
    add("--collect", action="store_true", help=collect)
    args = parser.parse_intermixed_args(argv)
    args.tables = list(takewhile(lambda word: "." not in word, args.words))
    args.opts = args.words[len(args.tables) :]
    if not args.tables:
        parser.error("name a table before the KEY VALUE pairs")
    if min(args.seeds, args.first_seed, args.jobs) < 1 or args.iterations <= 0:
        parser.error("--seeds, --first-seed, --jobs and --iterations must be positive")
    folder = args.dataset if args.detector == "SSD" else f"{args.dataset}_{args.detector}".lower()
    args.output = args.output or Path("output", "reproduce", folder)
    for name in args.imports:
        import_module_or_file(name)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 if a run failed."""
    args = parse_args(argv)
    plan = Plan(
        [available(find_table(name), args.dataset, args.detector) for name in args.tables],
        dataset=args.dataset,
        seeds=range(args.first_seed, args.first_seed + args.seeds),
        output=args.output,
        iterations=args.iterations,
        options=args.opts,
        detector=args.detector,
        imports=args.imports,
    )
    runs = plan.runs()
    check_stored_settings(runs)
    if args.print_commands:
        # What needs another run is left for the next time, once that is finished.
        ready = [run for run in runs if run.needs is None or run.needs.finished]
        print("\n".join(command_line(run, TRAIN_NET) for run in ready if not run.finished))
        return 0
    runner = Runner(TRAIN_NET, jobs=args.jobs)
    if not args.collect:
        runner.run(runs)
    for file in write_reports(plan):
        print(file)
    for run, problem in runner.failed.items():
        print(f"reproduce: {run.folder}: {problem}", file=sys.stderr)
    return 1 if runner.failed else 0


if __name__ == "__main__":
    # Like an interruption from the keyboard: the runs end too, and can be resumed later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with one_line_errors():
            sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("reproduce: interrupted; the same command resumes it")
