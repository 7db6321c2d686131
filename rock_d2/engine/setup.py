"""From a command line to a config, and what a run needs before its model."""

import argparse
import importlib.util
import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from rock_d2.engine.launch import started_by_torchrun
from rock_d2.engine.run_log import describe_run
from rock_d2.predictor import load_config


def setup_config(args: argparse.Namespace) -> CfgNode:
    """The config that Detectron2's arguments ask for; ValueError or OSError if it cannot be."""
    if not args.config_file:
        raise ValueError("--config-file is missing; configs/ has some")
    cfg = load_config(args.config_file, args.opts or ())
    check_config(cfg)
    processes = args.num_gpus * args.num_machines
    if cfg.MODEL.DEVICE == "cpu" and processes > 1 and not started_by_torchrun():
        raise ValueError(
            "--num-gpus starts a process for each GPU; on the CPU (MODEL.DEVICE) several are "
            f"started by: torchrun --nproc_per_node={args.num_gpus} tools/train_net.py ..."
        )
    cfg.freeze()
    return cfg


def check_config(cfg: CfgNode) -> None:
    """Raises ValueError for what would end a run with a long story later."""
    registered = DatasetCatalog.list()
    for key in ("TRAIN", "TEST"):
        unknown = [name for name in cfg.DATASETS[key] if name not in registered]
        if unknown:
            ours = ", ".join(name for name in registered if name.startswith(("nyuv2", "rooms")))
            raise ValueError(f"DATASETS.{key}: {unknown[0]!r} is not registered; there are {ours}")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but PyTorch sees no GPU: set MODEL.DEVICE cpu"
        )
    if cfg.WANDB_PROJECT and not importlib.util.find_spec("wandb"):
        raise ValueError(
            f"WANDB_PROJECT is {cfg.WANDB_PROJECT!r}, but wandb is not installed: "
            "pip install 'rock_d2[wandb]', or set WANDB_PROJECT ''"
        )


def start_run(cfg: CfgNode) -> None:
    """Opens the log and describes the run in OUTPUT_DIR; seeds this process."""
    rank = comm.get_rank()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    for name, short in (("fvcore", "fvcore"), ("detectron2", "d2"), ("rock_d2", "rock_d2")):
        setup_logger(str(folder), distributed_rank=rank, name=name, abbrev_name=short)
    # The header tells the data's sizes, and the trainer each evaluation's results.
    for name in ("detectron2.data", "detectron2.engine.defaults", "detectron2.evaluation.testing"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if comm.is_main_process():
        describe_run(cfg)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
