#!/usr/bin/env python
"""Measures rock_d2 against something, in one run and in turns.

    python tools/benchmark.py infer --batch-size 1 --json output/benchmarks/infer.json
    python tools/benchmark.py train --config rooms_scratch/rock_rooms.yaml --batch-size 4

steps    training steps of several configs, against the first
train    a step in fp32 and bf16, against Detectron2's SimpleTrainer and RetinaNet
infer    a batch, also by ONNX Runtime, against Detectron2's RetinaNet R50-FPN
data     mapping images with all labels, by workers and from memory (DATALOADER.RESIDENT), against
         Detectron2's DatasetMapper, which maps image and boxes, with the same transforms
losses   matching and losses, forward and backward, against torchvision's SSD
eval     COCO's box evaluation by hotcoco, against pycocotools
large    reading a set of very many images (--images), and the memory of the loader's workers
metrics  a frame's outlines (odsF) by MTI-Net's protocol, against InvPT's

A time is the median of the rounds with its quartiles; so is a ratio, round by round.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from rock_d2.engine.command_line import import_module_or_file, one_line_errors, tool_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SUBJECTS = ("train", "steps", "infer", "data", "losses", "eval", "large", "metrics")
# Of those that depend on a config.
CONFIGS = {
    "infer": ["rock/ssd_nyuv2.yaml", "rock_nyuv2.yaml"],
    "steps": ["mti/rooms/mti_net_hrnet18.yaml", "mti/rooms/pad_net_hrnet18.yaml"],
    "train": ["rooms_scratch/rock_rooms.yaml"],
    "data": ["rooms_scratch/rock_rooms.yaml"],
    "losses": ["rooms_scratch/rock_rooms.yaml"],
    "large": ["rooms_scratch/rock_rooms.yaml"],
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("what", choices=SUBJECTS, help="what is measured; each is described above")
    rounds = "times that everything is measured (default: each subject's own)"
    add("--rounds", type=int, metavar="N", help=rounds)
    add("--json", type=Path, metavar="FILE", help="file for all times, as JSON")
    device = "device of networks and losses, cpu or cuda (default: %(default)s)"
    add("--device", default="cpu", help=device)
    threads = "threads that PyTorch computes with on the CPU (default: its own choice)"
    add("--threads", type=int, metavar="N", help=threads)
    batch = "images in a batch (default: %(default)s)"
    add("--batch-size", type=int, default=8, metavar="N", help=batch)
    images = "images of the set of large (default: %(default)s)"
    add("--images", type=int, default=500_000, metavar="N", help=images)
    add("--config", action="append", help="yaml file in configs/ (repeatable for infer and steps)")
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as SOLVER.COMPILE default")
    args = parser.parse_intermixed_args(argv)
    args.config = args.config or CONFIGS.get(args.what, [])
    for name in args.imports:
        import_module_or_file(name)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    import_module(f"benchmarks.{args.what}").run(args)


if __name__ == "__main__":
    with one_line_errors():
        main()
