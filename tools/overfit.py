#!/usr/bin/env python
"""Learns a handful of images by heart: a model that cannot do that is broken.

    python tools/overfit.py --config-file configs/rock_rooms.yaml --num-images 8

Prints the metrics on the same images before and after.
"""

import argparse

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", default="configs/rock_rooms.yaml", metavar="FILE")
    parser.add_argument("--num-images", type=int, default=8, help="evenly spaced over the set")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-3, help="of Adam; ends at zero")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs of the config")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.engine.overfitting import overfit

    overfit(args)


if __name__ == "__main__":
    with one_line("overfit"):
        main(parse_args())
