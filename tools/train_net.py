#!/usr/bin/env python
"""Trains a model and evaluates it.

    python tools/train_net.py --config-file configs/rock_rooms.yaml
    python tools/train_net.py --config-file configs/rock_nyuv2.yaml --num-gpus 8
    python tools/train_net.py --config-file ... --num-gpus 2 MODEL.DEVICE cpu
    torchrun --nproc_per_node=2 tools/train_net.py --config-file ... MODEL.DEVICE cpu
    python tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth

Settings of the config can follow as KEY VALUE pairs. OUTPUT_DIR holds the log, the checkpoints,
metrics.json, TensorBoard's events and, at the end, results.json.
"""

import argparse
from collections.abc import Callable
from typing import Any

from rock_d2.engine.arguments import one_line, training_parser
from rock_d2.imports import collector_resting

# All else is imported where it is used: --help need not wait for PyTorch.


def prepared(args: argparse.Namespace, prepare: Callable[..., Any], **options: Any) -> Any:
    """What ``prepare`` makes of the config; raises Refused for a setting that cannot be.

    ``options`` go to its ``resume_or_load``.
    """
    from detectron2.utils import comm

    from rock_d2.engine.ending import Refused
    from rock_d2.engine.launch import num_restarts
    from rock_d2.engine.writers import describe_run
    from rock_d2.engine.setup import start_run

    try:
        start_run(args.cfg)
        made = prepare(args.cfg)
        resume = args.resume or args.resume_anyway or num_restarts() > 0
        made.resume_or_load(resume=resume, **options)
        # Not before: a run that is refused leaves what another one in its folder has written.
        if comm.is_main_process():
            describe_run(args.cfg, trains=not args.eval_only)
    except (OSError, ValueError) as problem:
        raise Refused(str(problem)) from None
    return made


def main(args: argparse.Namespace) -> None:
    """One process of the run."""
    with collector_resting():
        from rock_d2.engine.ending import exit_with_code
        from rock_d2.engine.trainer import Evaluation, RockTrainer, report

    with exit_with_code("train_net"):
        if args.eval_only:
            report(args.cfg, prepared(args, Evaluation).run())
        else:
            prepared(args, RockTrainer, anyway=args.resume_anyway).train()


def start(args: argparse.Namespace) -> None:
    with collector_resting():
        from rock_d2.engine.launch import launch_training
        from rock_d2.engine.setup import setup_config

    with one_line("train_net"):
        args.cfg = setup_config(args)
    timeout = args.cfg.SOLVER.PROCESS_TIMEOUT
    launch_training(main, args, device=args.cfg.MODEL.DEVICE, timeout=timeout)


if __name__ == "__main__":
    start(training_parser(__doc__).parse_args())
