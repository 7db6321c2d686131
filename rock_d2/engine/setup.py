"""From a command line to a config, and what a run needs before its model."""

import argparse
import importlib.util
import logging
import re
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from rock_d2.config import load_config
from rock_d2.data.loader import check_registered
from rock_d2.engine.folder_lock import take_folder
from rock_d2.engine.launch import check_processes, num_processes
from rock_d2.engine.random_state import compute_the_same
from rock_d2.engine.setting_rules import check_values
from rock_d2.engine.single_values import check_batch_norm
from rock_d2.evaluation.backends import choose_backend
from rock_d2.freed_memory import keep_freed_memory


def setup_config(args: argparse.Namespace) -> CfgNode:
    """The config that Detectron2's arguments ask for; ValueError or OSError if it cannot be."""
    if not args.config_file:
        raise ValueError("--config-file is missing; configs/ has some")
    cfg = load_config(args.config_file, args.opts or ())
    processes = num_processes(args)
    check_config(cfg, 0 if args.eval_only else processes)
    check_processes(args, cfg.MODEL.DEVICE)
    if not args.eval_only:
        check_batch_norm(cfg, processes)
    cfg.freeze()
    return cfg


def check_config(cfg: CfgNode, num_processes: int = 1) -> None:
    """Raises ValueError for what would end a run with a long story later.

    Args:
        cfg: of a run.
        num_processes: of the training; 0 if the run only evaluates.
    """
    device = cfg.MODEL.DEVICE
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"MODEL.DEVICE is {device!r}; it must be cpu, cuda or cuda:N")
    check_values(cfg, num_processes)
    choose_backend(cfg.TEST.COCO_BACKEND)
    for key in ("TRAIN", "TEST"):
        check_registered(cfg.DATASETS[key], f"DATASETS.{key}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"MODEL.DEVICE is {device}, but PyTorch sees no GPU: set MODEL.DEVICE cpu")
    if int(device.partition(":")[2] or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(
            f"MODEL.DEVICE is {device}, but PyTorch sees {torch.cuda.device_count()} GPU(s), "
            "counted from cuda:0"
        )
    if cfg.WANDB_PROJECT and not importlib.util.find_spec("wandb"):
        raise ValueError(
            f"WANDB_PROJECT is {cfg.WANDB_PROJECT!r}, but wandb is not installed: "
            "pip install 'rock_d2[wandb]', or set WANDB_PROJECT ''"
        )


def start_run(cfg: CfgNode) -> None:
    """Takes OUTPUT_DIR and opens the log in it; seeds this process.

    Raises ValueError or OSError if OUTPUT_DIR cannot be had.
    """
    rank = comm.get_rank()
    folder = Path(cfg.OUTPUT_DIR)
    claim(folder)
    for name, short in (("fvcore", "fvcore"), ("detectron2", "d2"), ("rock_d2", "rock_d2")):
        setup_logger(str(folder), distributed_rank=rank, name=name, abbrev_name=short)
    # The header tells the data's sizes, and the trainer each evaluation's results.
    for name in ("detectron2.data", "detectron2.engine.defaults", "detectron2.evaluation.testing"):
        logging.getLogger(name).setLevel(logging.WARNING)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if cfg.MODEL.DEVICE.startswith("cuda:"):
        # Streams, events and random numbers are the present device's.
        torch.cuda.set_device(cfg.MODEL.DEVICE)
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    # Which algorithm is the fastest can be another one each time.
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not cfg.SOLVER.DETERMINISTIC
    compute_the_same(cfg.SOLVER.DETERMINISTIC)


def claim(folder: Path) -> None:
    """Lets the main process take the folder for all; none goes on before that."""
    problem = None
    if comm.is_main_process():
        try:
            take_folder(folder, setting="OUTPUT_DIR")
        except OSError as error:
            problem = f"OUTPUT_DIR {folder} cannot be written: {error.strerror}; choose another"
        except ValueError as error:
            problem = str(error)
    problem = comm.all_gather(problem)[0]
    if problem:
        raise ValueError(problem)
    folder.mkdir(parents=True, exist_ok=True)
