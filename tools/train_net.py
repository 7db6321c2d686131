#!/usr/bin/env python
"""Trains a model and evaluates it.

    python tools/train_net.py --config-file configs/rock_rooms.yaml
    python tools/train_net.py --config-file configs/rock_nyuv2.yaml --num-gpus 8
    torchrun --nproc_per_node=2 tools/train_net.py --config-file ... MODEL.DEVICE cpu
    python tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth

Settings of the config can follow as KEY VALUE pairs. OUTPUT_DIR holds the log, the checkpoints,
metrics.json, TensorBoard's events and, at the end, results.json.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser

from rock_d2.engine.launch import launch_training
from rock_d2.engine.setup import setup_config, start_run
from rock_d2.engine.trainer import Evaluation, RockTrainer, report


def parse_args() -> argparse.Namespace:
    parser = default_argument_parser(epilog=" ")
    parser.description = __doc__
    args = parser.parse_args()
    try:
        args.cfg = setup_config(args)
    except (OSError, ValueError) as problem:
        sys.exit(f"train_net: {problem}")
    return args


def prepared(args: argparse.Namespace, prepare: Callable[[CfgNode], Any]) -> Any:
    """What ``prepare`` makes; a setting that cannot be ends the run with one line."""
    try:
        start_run(args.cfg)
        made = prepare(args.cfg)
        made.resume_or_load(resume=args.resume)
    except (OSError, ValueError) as problem:
        sys.exit(f"train_net: {problem}")
    return made


def main(args: argparse.Namespace) -> None:
    if args.eval_only:
        report(args.cfg, prepared(args, Evaluation).run())
    else:
        prepared(args, RockTrainer).train()


if __name__ == "__main__":
    arguments = parse_args()
    launch_training(main, arguments, device=arguments.cfg.MODEL.DEVICE)
