"""Trains while processes are killed and disks are full, and compares with a training in peace.

Each training runs in a process of its own, forked from one that has everything imported, so that
fifty starts are no matter.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from rock_d2.checkpoint.files import CheckpointStore
from rock_d2.engine.ending import NotSaved, exit_with_code
from rock_d2.files import TEMPORARY, hash_of
from rock_d2.engine.setup import start_run
from rock_d2.engine.trainer import RockTrainer
from fuzz.originals import small_config

# What a training is: tiny, with a checkpoint after every step, averaged weights, and passes over
# the data that end within batches.
SETTINGS = (
    *("SEED", 1, "DATASETS.TRAIN", ("rooms_train",), "DATASETS.TEST", (), "TEST.EVAL_PERIOD", 0),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.BASE_LR", 1e-3, "SOLVER.LOG_PERIOD", 5),
    *("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.CHECKPOINTS_KEPT", 3, "SOLVER.AMP.ENABLED", False),
    *("DATALOADER.NUM_WORKERS", 0, "MODEL_EMA.ENABLED", True, "TEST.NUM_PICTURES", 0),
)
# How long something took, and the length of a file that tells it.
TIMES = {"time", "data_time", "images_per_second", "eta_seconds", "memory_gb"}
TIMES |= {"_seconds", "_data_seconds", "size"}
# Iterations that a training has for each time it is killed.
ITERATIONS_PER_KILL = 3
FULL_DISK = f"found the disk full, exit code {NotSaved.exit_code}, no checkpoint touched"
# Of a process that shall do something, in seconds.
PATIENCE = 300


class ChaosError(Exception):
    """Something that is promised did not happen."""


@dataclass
class Outcome:
    """What was done to a training, and what it was in the end.

    Attributes:
        events: how often what was done.
        iterations: of the training.
        differences: from the training in peace; none if all is well.
    """

    iterations: int
    events: Counter = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def chaos_config(folder: Path, iterations: int) -> CfgNode:
    cfg = small_config()
    steps = ("SOLVER.MAX_ITER", iterations, "SOLVER.STEPS", (iterations // 2,))
    cfg.merge_from_list([*SETTINGS, *steps, "OUTPUT_DIR", str(folder)])
    return cfg


def train(cfg: CfgNode, largest_file: int | None) -> None:
    """A training as tools/train_net.py --resume starts it.

    Args:
        cfg: of the training.
        largest_file: bytes that a file may have, as if the disk was full then.
    """
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    log = os.open(Path(cfg.OUTPUT_DIR) / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    torch.set_num_threads(1)
    start_run(cfg)
    trainer = RockTrainer(cfg)
    trainer.resume_or_load(resume=True)
    with exit_with_code("chaos"):
        trainer.train()


def start(cfg: CfgNode, largest_file: int | None = None) -> BaseProcess:
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=train, args=(cfg, largest_file))
    process.start()
    return process


def finish(process: BaseProcess, cfg: CfgNode, code: int = 0) -> None:
    """Waits for the end of a process, which must have that exit code."""
    process.join(PATIENCE)
    if process.exitcode != code:
        process.kill()
        process.join()
        last = (Path(cfg.OUTPUT_DIR) / "output.txt").read_text()[-2000:]
        raise ChaosError(f"a training ended with {process.exitcode}, not {code}:\n{last}")


def run_chaos(folder: Path, *, kills: int, seed: int) -> Outcome:
    """Every other process is killed while it writes a checkpoint, the others at any moment.

    In between one finds the disk full.
    """
    rng, outcome = np.random.default_rng(seed), Outcome(max(6, ITERATIONS_PER_KILL * kills))
    peace = chaos_config(folder / "peace", outcome.iterations)
    longest_wait = train_in_peace(peace)
    cfg = chaos_config(folder / "chaos", outcome.iterations)
    for i in range(kills):
        before, left = last_iteration(cfg), parts(cfg)
        if before >= 0 and not outcome.events[FULL_DISK]:
            meet_full_disk(cfg)
            outcome.events[FULL_DISK] += 1
        process = start(cfg)
        if i % 2 == 0:
            wait_for_write(process, cfg, old=left, skip=int(rng.integers(3)))
            time.sleep(rng.uniform(0, 0.002))
        else:
            process.join(rng.uniform(0, longest_wait))
        outcome.events[kill(process, cfg, old=left)] += 1
        if last_iteration(cfg) < before:
            raise ChaosError(f"the last checkpoint was of iteration {before} and is lost")
    finish(start(cfg), cfg)
    outcome.differences = list(differences(Path(peace.OUTPUT_DIR), Path(cfg.OUTPUT_DIR)))
    return outcome


def train_in_peace(cfg: CfgNode) -> float:
    """Returns the seconds after which a training has most likely saved some checkpoints."""
    begun = time.monotonic()
    process = start(cfg)
    wait_for_write(process, cfg, old=set(), skip=0)
    start_seconds = time.monotonic() - begun
    finish(process, cfg)
    seconds = (time.monotonic() - begun - start_seconds) / cfg.SOLVER.MAX_ITER
    return start_seconds + 6 * seconds


def kill(process: BaseProcess, cfg: CfgNode, *, old: set[str]) -> str:
    """SIGKILL; returns what it interrupted, told by files that are new and not whole."""
    process.kill()
    process.join()
    if process.exitcode == 0:
        return "ended before it was killed"
    if process.exitcode != -signal.SIGKILL:
        finish(process, cfg)
    return "killed within a write" if parts(cfg) - old else "killed elsewhere"


def parts(cfg: CfgNode) -> set[str]:
    """Files whose writing has begun and not ended, by name and time."""
    found = set()
    for path in Path(cfg.OUTPUT_DIR).glob(TEMPORARY.format("model_*")):
        # It may be whole by now, and have its name.
        with suppress(FileNotFoundError):
            found.add(f"{path.name} {path.stat().st_mtime_ns}")
    return found


def wait_for_write(process: BaseProcess, cfg: CfgNode, *, old: set[str], skip: int) -> None:
    """Waits until the process writes a checkpoint, after as many others."""
    end, writing, seen = time.monotonic() + PATIENCE, False, 0
    while process.is_alive() and time.monotonic() < end and seen <= skip:
        was_writing, writing = writing, bool(parts(cfg) - old)
        seen += writing and not was_writing
        time.sleep(0.0005)


def last_iteration(cfg: CfgNode) -> int:
    """Of the checkpoint that a resumed training would take; -1 without any."""
    path = CheckpointStore(cfg.OUTPUT_DIR).find_last()
    if path is None:
        return -1
    return torch.load(path, weights_only=True)["trainer"]["iteration"]


def meet_full_disk(cfg: CfgNode) -> None:
    """A file must not grow beyond half a checkpoint, as on a disk that is full."""
    checkpoint = CheckpointStore(cfg.OUTPUT_DIR).find_last()
    before = checkpoint_digests(cfg)
    process = start(cfg, largest_file=checkpoint.stat().st_size // 2)
    finish(process, cfg, code=NotSaved.exit_code)
    if checkpoint_digests(cfg) != before:
        raise ChaosError("a full disk has changed a checkpoint")


def checkpoint_digests(cfg: CfgNode) -> dict[str, str]:
    return {path.name: hash_of(path) for path in Path(cfg.OUTPUT_DIR).glob("model_*.pth")}


def differences(first: Path, second: Path) -> Iterator[str]:
    """Where the results of two trainings differ by as much as a bit."""
    contents = [torch.load(x / "model_final.pth", weights_only=True) for x in (first, second)]
    wanted = ("model", "trainer", "processes")
    yield from differing(*({key: content[key] for key in wanted} for content in contents))
    if metrics(first) != metrics(second):
        yield "metrics.json"


def differing(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two values differ by as much as a bit, times apart."""
    if type(first) is not type(second):
        return [place]
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [place]
    if isinstance(first, dict):
        keys = [key for key in first | second if key not in TIMES]
        # Nothing else is an ellipsis.
        pairs = [(first.get(key, ...), second.get(key, ...), f"{place}.{key}") for key in keys]
    elif isinstance(first, list | tuple) and len(first) == len(second):
        pairs = [(*pair, f"{place}.{i}") for i, pair in enumerate(zip(first, second, strict=True))]
    else:
        return [] if first == second else [place]
    return [found for pair in pairs for found in differing(*pair)]


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: x for key, x in line.items() if key not in TIMES} for line in lines]
