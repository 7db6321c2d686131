#!/usr/bin/env python
r"""The gain of a multi-task network over single-task networks, Δm, from results.json files.

    python tools/gain.py output/mti_net/results.json \
        --baseline output/single_*/results.json

Δm is the mean of the gains, in percent, of the metrics by which the results' protocol compares the
main tasks (docs/METRICS.md); a smaller error is a gain. Of several files with
the same metric, such as several seeds, the means count, on either side. Files that were measured
by another protocol are refused.
"""

from collections.abc import Sequence

from tabulate import tabulate

from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.evaluation.gain import gain_over, read_means


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("results", nargs="+", metavar="FILE", help="results.json of the multi-task network")
    baseline = "results.json of the single-task networks, one of each main task at least"
    add("--baseline", nargs="+", required=True, metavar="FILE", help=baseline)
    args = parse(parser, argv)
    measured = read_means(args.results)
    found = gain_over(measured, read_means(args.baseline))
    rows = [(name, f"{value:+.2f} %") for name, value in found.parts.items()]
    rows += [(name, "missing") for name in found.missing]
    delta = "none, since metrics are missing" if found.delta is None else f"{found.delta:+.2f} %"
    print(f"protocol: {measured.protocol}\n")
    print(tabulate([*rows, ("**Δm**", delta)], ["metric", "gain"], tablefmt="github"))


if __name__ == "__main__":
    with one_line_errors():
        main()
