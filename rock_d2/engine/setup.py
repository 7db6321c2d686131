"""From a command line to a config, and the start of each process of a run."""

import argparse
import logging
import os
import platform
import re
import subprocess
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from rock_d2.config import find_config, load_config
from rock_d2.data.datasets.coco import check_is_there, data_path
from rock_d2.data.loader import check_registered
from rock_d2.evaluation.protocols import protocol_of
from rock_d2.registry import registered

QUIETLY = {"capture_output": True, "text": True}


def setup_config(args: argparse.Namespace) -> CfgNode:
    """Return the config of a command line; raise ValueError or OSError if it cannot be."""
    if not args.config_file:
        raise ValueError("--config-file is missing; configs/ has some")
    args.config_file = find_config(args.config_file)
    cfg = load_config(args.config_file, args.opts or ())
    check_config(cfg)
    cfg.freeze()
    return cfg


def check_config(cfg: CfgNode) -> None:
    """Raise ValueError for a device, a network or a data set that is not there."""
    device, count = cfg.MODEL.DEVICE, torch.cuda.device_count()
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not found or (device != "cpu" and int(found[1] or 0) >= count):
        raise ValueError(
            f"MODEL.DEVICE is {device!r}; it must be cpu, cuda or cuda:N, and PyTorch sees {count} "
            "GPU(s)"
        )
    registered(META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE, setting="MODEL.META_ARCHITECTURE")
    registered(BACKBONE_REGISTRY, cfg.MODEL.BACKBONE.NAME, setting="MODEL.BACKBONE.NAME")
    if cfg.TEST.PRECISE_BN.ENABLED or cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(
            "TEST.PRECISE_BN and other values of DATALOADER.SAMPLER_TRAIN than TrainingSampler are "
            "not supported; DATASETS.REPEAT repeats images"
        )
    for key in ("TRAIN", "TEST"):
        check_registered(cfg.DATASETS[key], f"DATASETS.{key}")
    for name in cfg.DATASETS.TEST:
        protocol_of(cfg, name)
        # Training sets are read first thing in a training.
        if files := MetadataCatalog.get(name).get("files"):
            check_is_there(data_path(files[0]), name)


def start_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Open the log in OUTPUT_DIR, describe the run there, and seed this process."""
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="rock_d2")
    if comm.is_main_process():
        facts = f"commit: {git_commit()}\nmachine: {machine(on_gpu=cfg.MODEL.DEVICE != 'cpu')}\n"
        Path(cfg.OUTPUT_DIR, "environment.txt").write_text(facts)
    if cfg.MODEL.DEVICE.startswith("cuda:"):
        # Streams, events and random numbers are of the current device.
        torch.cuda.set_device(cfg.MODEL.DEVICE)
    if cfg.SOLVER.DETERMINISTIC:
        # cuBLAS reads it when the GPU is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def set_up_logging() -> None:
    """Let messages appear on the console, as Detectron2's DefaultTrainer does, if none would."""
    for name in ("fvcore", "detectron2", "rock_d2"):
        if not logging.getLogger(name).isEnabledFor(logging.INFO):
            setup_logger(distributed_rank=comm.get_rank(), name=name)


def machine(*, on_gpu: bool) -> str:
    name = platform.processor() or platform.machine()
    if on_gpu:
        name = torch.cuda.get_device_name()
    elif (file := Path("/proc/cpuinfo")).exists():
        models = [line for line in file.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def git_commit() -> str:
    """Return the commit that this code is at, and whether files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = [*git, "describe", "--always", "--abbrev=40", "--dirty=, with changes"]
    try:
        # An installed package may lie within the repository of something else.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, **QUIETLY)
        return subprocess.run(describe, check=True, **QUIETLY).stdout.strip()
    except OSError:
        return "unknown: there is no git"
    except subprocess.CalledProcessError:
        return "unknown: this is no git checkout"
