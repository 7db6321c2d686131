"""The command line of trainings."""

import argparse
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from torch import distributed

from rock_d2.checkpoint.checkpointer import CompleteCheckpointer
from rock_d2.engine.command_line import add_import_option, one_line_errors, parse
from rock_d2.engine.launch import check_devices, join, launch, num_processes
from rock_d2.engine.results import draw_box_charts, report
from rock_d2.engine.setup import setup_config, start_run
from rock_d2.engine.trainer import RockTrainer


def training_parser() -> argparse.ArgumentParser:
    """Return Detectron2's parser with the options of rock_d2."""
    parser = default_argument_parser()
    add_import_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Train or evaluate as a command line asks.

    Programs of one's own register their parts first:

        import my_task, my_data
        from rock_d2.engine import main

        main()

    Args:
        argv: arguments; by default those of the program.
    """
    with one_line_errors():
        args = parse(training_parser(), argv)
        cfg = setup_config(args)
        check_devices(args, cfg.MODEL.DEVICE)
        if num_processes(args) > 1 and not distributed.is_torchelastic_launched():
            launch(args)
        else:
            join(cfg.MODEL.DEVICE, timeout=cfg.SOLVER.PROCESS_TIMEOUT)
            try:
                run(args, cfg)
            finally:
                # Threads of the group that are still there could abort a process that ends.
                if distributed.is_initialized():
                    distributed.destroy_process_group()


def run(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Train or evaluate as one of the processes."""
    start_run(cfg, args)
    if args.eval_only:
        evaluate(cfg, resume=args.resume)
        return
    trainer = RockTrainer(cfg)
    # torchrun counts how often it has started the processes again.
    was_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    trainer.resume_or_load(resume=args.resume or was_restarted)
    trainer.train()


def evaluate(cfg: CfgNode, *, resume: bool) -> None:
    """Evaluate the model of MODEL.WEIGHTS, or of the last checkpoint in OUTPUT_DIR."""
    if not cfg.MODEL.WEIGHTS and not resume:
        raise ValueError("MODEL.WEIGHTS is empty, so that there is no model to evaluate")
    model = RockTrainer.build_model(cfg)
    checkpointer = CompleteCheckpointer(cfg, model=model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    report(cfg, RockTrainer.test(cfg, model))
    for name in cfg.DATASETS.TEST if comm.is_main_process() else ():
        draw_box_charts(cfg, name)
