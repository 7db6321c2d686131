#!/usr/bin/env python
"""The paper's tables: trains what they compare, with several seeds, and builds them.

    python tools/reproduce.py 1 --dataset rooms --seeds 3
    python tools/reproduce.py 1 2 5 6 --dataset nyuv2 --seeds 5 --jobs 2 MODEL.DEVICE cuda
    python tools/reproduce.py 1 --dataset rooms --seeds 3 --print-commands | parallel -j 4
    python tools/reproduce.py 1 --dataset rooms --seeds 3 --collect
    python tools/reproduce.py decoders --dataset rooms --seeds 3

TABLE is 1 to 6, or "decoders": what ROCK loses when decoders are switched off at test time.
Settings can follow as KEY VALUE pairs; they hold for every run. A run is an ordinary command line
of tools/train_net.py in a folder of its own below the output folder. Finished runs are kept, and
interrupted ones go on. The tables are table<N>.md, .csv (and _runs.csv) and .html there.
"""

import argparse
import signal
import sys
from itertools import takewhile
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("words", nargs="+", metavar="TABLE [KEY VALUE]")
    parser.add_argument("--dataset", required=True, choices=["nyuv2", "rooms"])
    parser.add_argument(
        "--seeds", type=int, default=1, help="runs of each model, SEED 1 and so on (default: 1)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument(
        "--iterations", type=float, default=1.0, metavar="F", help="stretches the schedule"
    )
    parser.add_argument(
        "--gradient-conflict",
        type=int,
        default=0,
        metavar="K",
        help="every K iterations, log each task's gradient on the backbone against the detector's",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: output/reproduce/<data set>"
    )
    parser.add_argument(
        "--print-commands", action="store_true", help="print what can be run now, a line a run"
    )
    parser.add_argument("--collect", action="store_true", help="only build the tables")
    args = parser.parse_intermixed_args()
    args.tables = list(takewhile(lambda word: "." not in word, args.words))
    args.opts = args.words[len(args.tables) :]
    if not args.tables:
        parser.error("name a table before the KEY VALUE pairs")
    if args.seeds < 1 or args.jobs < 1 or args.iterations <= 0 or args.gradient_conflict < 0:
        parser.error("--seeds, --jobs and --iterations must be positive")
    args.output = args.output or Path("output", "reproduce", args.dataset)
    return args


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.engine.folder_lock import take_folder
    from reproduce.plan import Plan, check_stored_settings
    from reproduce.report import write_reports
    from reproduce.runner import Runner, command_line
    from reproduce.tables import find_table

    if args.gradient_conflict:
        args.opts += ["SOLVER.GRADIENT_CONFLICT_PERIOD", str(args.gradient_conflict)]
    with one_line("reproduce"):
        plan = Plan(
            [find_table(name) for name in args.tables],
            dataset=args.dataset,
            seeds=range(1, args.seeds + 1),
            output=args.output,
            iterations=args.iterations,
            options=args.opts,
        )
        runs = plan.runs()
        check_stored_settings(runs)
    train_net = Path(__file__).resolve().with_name("train_net.py")
    if args.print_commands:
        # An evaluation is for the next time, once its training is finished.
        ready = [run for run in runs if run.trained is None or run.trained.finished]
        print("\n".join(command_line(run, train_net) for run in ready if not run.finished))
        return
    runner = Runner(train_net, jobs=args.jobs)
    if not args.collect:
        with one_line("reproduce"):
            take_folder(args.output, setting="--output")
        runner.run(runs)
    for file in write_reports(plan):
        print(file)
    for run, problem in runner.failed.items():
        print(f"reproduce: {run.folder}: {problem}", file=sys.stderr)
    sys.exit(1 if runner.failed else 0)


if __name__ == "__main__":
    # Like an interruption from the keyboard: the runs end too, and can go on later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(parse_args())
    except KeyboardInterrupt:
        sys.exit("reproduce: interrupted; the same command goes on")
