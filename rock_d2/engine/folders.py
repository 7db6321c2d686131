"""The folder of a training, which takes no other training's place by itself."""

import fcntl
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from detectron2.config import CfgNode
from detectron2.utils import comm

from rock_d2.checkpoint.files import CheckpointFiles

logger = logging.getLogger(__name__)

METRICS, LOCK = "metrics.json", ".lock"
# What a training leaves that a later one would mix with its own.
LEFT = (
    *("model_final.pth", "model_best.pth", "model_[0-9]*.pth", "last_checkpoint", METRICS),
    *("events.out.tfevents.*", "results*.json", "inference"),
)

# Files whose closing would give a folder up.
claimed: list[IO[str]] = []


def in_own_folder(cfg: CfgNode, *, resume: bool, overwrite: bool, was_restarted: bool) -> CfgNode:
    """Return a config whose OUTPUT_DIR has no other training in it, the same for all processes.

    With ``overwrite`` the training that is there is deleted. ``was_restarted`` says that torchrun
    has started the processes again.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        if not resume and not overwrite:
            folder = (was_restarted and earlier_folder(folder)) or free_folder(folder)
        if not claim(folder):
            raise ValueError(
                f"OUTPUT_DIR {folder}: another process is training there; wait for its end, or "
                "choose another folder"
            )
        if overwrite and not resume and not was_restarted:
            if folder.resolve() in Path(cfg.MODEL.WEIGHTS).resolve().parents:
                raise ValueError(f"MODEL.WEIGHTS is in {folder}, which --overwrite would empty")
            for path in itertools.chain(*map(folder.glob, LEFT)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(comm.all_gather(folder)[0])
    cfg.freeze()
    return cfg


def free_folder(folder: Path) -> Path:
    """Return the first of FOLDER, FOLDER-2, FOLDER-3, ... without a training; claim it."""
    for free in numbered(folder):
        is_used = (free / METRICS).exists() or CheckpointFiles(free).resumable()
        if not is_used and claim(free):
            return free


def earlier_folder(folder: Path) -> Path | None:
    """Return where this torchrun's processes have been before it started them again."""
    there = itertools.takewhile(Path.is_dir, numbered(folder))
    locks = (free / LOCK for free in there)
    found = [file.parent for file in locks if file.is_file() and file.read_text() == owner()]
    return found[-1] if found else None


def numbered(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (Path(f"{folder}-{number}") for number in itertools.count(2))


def owner() -> str:
    """Return what the processes have in common that torchrun starts one after the other."""
    return str(os.getppid())


def claim(folder: Path) -> bool:
    """Return whether this process may train in a folder until it ends: no other one does."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a")
    try:
        # Of this process and not of its children, which may outlive it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return False
    except OSError:
        logger.warning(f"{folder}: the file system has no locks; do not train twice there")
    file.truncate(0)
    file.write(owner())
    file.flush()
    claimed.append(file)
    return True
