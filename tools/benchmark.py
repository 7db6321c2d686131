#!/usr/bin/env python
"""Measures rock_d2 against something, in one run and in turn.

    python tools/benchmark.py infer --batch-size 1 --json output/benchmarks/infer.json
    python tools/benchmark.py data --dataset rooms_train

infer        whole inference, against Detectron2's detectors and without its fast paths
losses       matching and losses, forward and backward, against torchvision's SSD
postprocess  from a head's outputs to detections, against a loop over images and classes
eval         COCO's box evaluation, against pycocotools
data         mapping an image with all labels, from files and from memory, against Detectron2's
             DatasetMapper, which maps image and boxes, with the same transforms
train        an iteration, against Detectron2's SimpleTrainer and without our parts
loop         the same with hooks, log and checkpoints, against Detectron2's DefaultTrainer
overlap      a training with evaluations beside its iterations (TEST.OVERLAP)
resident     an iteration from files and from memory (DATALOADER.RESIDENT)
startup      importing, --help, and a training up to its first iteration
memory       of four loader workers over two passes over 20 000 registered images, which are the
             data set's own, repeated

A time is the median of the rounds with its quartiles; so is a ratio, round by round. Figures of a
profile are the least of several computations.
"""

import argparse
from importlib import import_module
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser

SUBJECTS = (
    *("infer", "losses", "postprocess", "eval"),
    *("data", "train", "loop", "overlap", "resident", "startup", "memory"),
)

ROWS_CHOSEN, PROFILED = ("infer", "train", "startup"), ("infer", "losses", "train")


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("what", choices=SUBJECTS)
    add("--rounds", type=int, help="of the measurement (default: each subject's own)")
    add("--json", type=Path, metavar="FILE", help="where to write all times")
    add("--device", default="cpu", help="of networks and losses (default: %(default)s)")
    add("--threads", type=int, help="of the CPU (default: PyTorch's)")
    add("--batch-size", type=int, default=8, help="of the same (default: %(default)s)")
    rows = f"a row of {', '.join(ROWS_CHOSEN)}; repeatable, the first is what ratios are to"
    add("--only", action="append", metavar="NAME", help=rows)
    shown = f"also where the time of the first two rows of {', '.join(PROFILED)} goes"
    add("--profile", action="store_true", help=shown)
    add("--images", type=int, default=5000, help="of eval (default: %(default)s)")
    add("--config", default="rock_rooms.yaml", help="of train to startup (default: %(default)s)")
    add("--dataset", default="rooms_train", help="of the same, data, memory (default: %(default)s)")
    add("opts", nargs="*", metavar="KEY VALUE", help="settings of the config")
    args = parser.parse_intermixed_args()
    for option, subjects in {"only": ROWS_CHOSEN, "profile": PROFILED}.items():
        if getattr(args, option) and args.what not in subjects:
            parser.error(f"{args.what} takes no --{option}; {', '.join(subjects)} do")
    return args


def main(args: argparse.Namespace) -> None:
    # Here, since --help need not wait for PyTorch.
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    import_module(f"benchmarks.{args.what}").run(args)


if __name__ == "__main__":
    with one_line("benchmark"):
        main(parse_args())
