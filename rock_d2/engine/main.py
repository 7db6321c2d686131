"""The command line of trainings."""

import argparse
import logging
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import distributed

from rock_d2.checkpoint.checkpointer import CompleteCheckpointer
from rock_d2.config import load_config
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.engine.folders import in_own_folder
from rock_d2.engine.launch import check_devices, join, launch, num_processes
from rock_d2.engine.results import draw_box_charts, report
from rock_d2.engine.setup import setup_config, start_run
from rock_d2.engine.trainer import RockTrainer

logger = logging.getLogger(__name__)

DESCRIPTION = """Trains a model and evaluates it.

OUTPUT_DIR gets the log, the checkpoints, metrics.json, TensorBoard's events and, at the end,
results.json. Exit code 75: a signal has ended the training, and --resume continues it.
"""


def training_parser() -> argparse.ArgumentParser:
    parser = tool_parser(DESCRIPTION)
    add = parser.add_argument
    config = "yaml file of the model, its data and its training, or its name in configs/"
    add("--config-file", default="", metavar="FILE", help=config)
    resume = "continue the training in OUTPUT_DIR from its last checkpoint, if there is one"
    add("--resume", action="store_true", help=resume)
    overwrite = (
        "delete the training in OUTPUT_DIR and train there; without this and --resume, a training "
        "whose OUTPUT_DIR holds another one goes to OUTPUT_DIR-2, OUTPUT_DIR-3, ..."
    )
    add("--overwrite", action="store_true", help=overwrite)
    evaluate = "do not train, evaluate MODEL.WEIGHTS (with --resume: OUTPUT_DIR's last checkpoint)"
    add("--eval-only", action="store_true", help=evaluate)
    processes = "processes on this machine, a GPU each (default: 1)"
    add("--num-gpus", type=int, default=1, metavar="N", help=processes)
    machines = "machines that train together; start the command on each (default: 1)"
    add("--num-machines", type=int, default=1, metavar="N", help=machines)
    rank = "number of this machine among --num-machines, from 0 (default: 0)"
    add("--machine-rank", type=int, default=0, metavar="I", help=rank)
    address = "address where all processes meet: a free port of machine 0 (default: %(default)s)"
    add("--dist-url", default="tcp://127.0.0.1:49152", metavar="tcp://HOST:PORT", help=address)
    opts = "settings of the config (rock_d2/config.py and Detectron2's), last of all arguments"
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help=opts)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Train or evaluate as a command line asks.

    Programs of one's own register their parts first:

        import my_task, my_data
        from rock_d2.engine import main

        if __name__ == "__main__":  # processes that it starts import the program, too
            main()
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
                # The main process writes results for longer; the group must not end under it.
                comm.synchronize()
            finally:
                # Threads of the group that are still there could abort a process that ends.
                if distributed.is_initialized():
                    distributed.destroy_process_group()


def run(args: argparse.Namespace, cfg: CfgNode) -> None:
    if args.eval_only:
        start_run(cfg, args)
        evaluate(cfg, resume=args.resume)
        return
    # torchrun counts how often it has started the processes again.
    was_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    wanted = cfg.OUTPUT_DIR
    cfg = in_own_folder(
        cfg, resume=args.resume, overwrite=args.overwrite, was_restarted=was_restarted
    )
    start_run(cfg, args)
    if wanted != cfg.OUTPUT_DIR:
        logger.warning(
            f"{wanted} holds another training; this one goes to OUTPUT_DIR {cfg.OUTPUT_DIR} (once "
            "the other has ended, --overwrite would replace it and --resume continue it)"
        )
    trainer = RockTrainer(cfg)
    trainer.resume_or_load(resume=args.resume or was_restarted)
    trainer.train()


def evaluate(cfg: CfgNode, *, resume: bool) -> None:
    """Evaluate the model of MODEL.WEIGHTS, or of the last checkpoint in OUTPUT_DIR."""
    if not cfg.MODEL.WEIGHTS and not resume:
        raise ValueError("MODEL.WEIGHTS is empty, so that there is no model to evaluate")
    cfg = load_config(cfg, ["MODEL.TIMM.PRETRAINED", False])  # the whole model is loaded
    model = RockTrainer.build_model(cfg)
    checkpointer = CompleteCheckpointer(cfg, model=model, save_dir=cfg.OUTPUT_DIR)
    last = comm.all_gather(checkpointer.files.newest() if resume else None)[0]
    if not (last or cfg.MODEL.WEIGHTS):
        raise ValueError(f"{cfg.OUTPUT_DIR} has no checkpoint to evaluate; name MODEL.WEIGHTS")
    checkpointer.load(str(last or cfg.MODEL.WEIGHTS), checkpointables=[])
    report(cfg, RockTrainer.test(cfg, model))
    for name in cfg.DATASETS.TEST if comm.is_main_process() else ():
        draw_box_charts(cfg, name)
