"""Trains while processes are killed, and compares the end with that of an undisturbed training."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from trainings import config, differing, metrics, stored

from rock_d2.files import UNFINISHED

TRAIN = Path(__file__).parents[2] / "tools" / "train_net.py"
# Iterations that a training has for each kill, and one more time after the last.
ITERATIONS_PER_KILL = 6
# Seconds that a process may need for anything.
PATIENCE = 300


def run_chaos(
    folder: Path, *, processes: int, kills: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """Kill a process each time that some iterations have been saved; torchrun restarts all.

    Every other process is killed while a checkpoint is written, the others at any moment.

    Returns:
        How many processes were killed where, and the places where the two results differ.
    """
    rng, events = np.random.default_rng(seed), Counter()
    iterations = ITERATIONS_PER_KILL * (kills + 1)
    undisturbed, disturbed = (chaos_config(folder / x, iterations) for x in ("calm", "chaos"))
    with training(undisturbed, processes, restarts=0):
        pass
    with training(disturbed, processes, restarts=kills) as run:
        for i in range(kills):
            saved = ITERATIONS_PER_KILL * i + int(rng.integers(1, 4))
            wait_for(run, lambda saved=saved: last_iteration(disturbed) >= saved)
            if i % 2 == 0:
                wait_for(run, lambda: bool(unfinished(disturbed)))
            victims = children(run.pid)
            os.kill(victims[rng.integers(len(victims))], signal.SIGKILL)
            events["within a write" if unfinished(disturbed) else "elsewhere"] += 1
    return events, list(differences(*(Path(cfg.OUTPUT_DIR) for cfg in (undisturbed, disturbed))))


def chaos_config(folder: Path, iterations: int) -> CfgNode:
    """Return the config of a tiny training, and write it into its folder."""
    folder.mkdir(parents=True)
    more = ("SOLVER.MAX_ITER", iterations, "SOLVER.STEPS", (iterations // 2,))
    cfg = config(folder, *more, "MODEL_EMA.ENABLED", True, "SOLVER.CHECKPOINTS_KEPT", 3)
    (folder / "chaos.yaml").write_text(cfg.dump())
    return cfg


@contextmanager
def training(cfg: CfgNode, processes: int, restarts: int) -> Iterator[subprocess.Popen]:
    """Start a training by torchrun, and wait for its end after the body."""
    folder = Path(cfg.OUTPUT_DIR)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    workers = [f"--nproc_per_node={processes}", f"--max-restarts={restarts}"]
    command = [*torchrun, *workers, str(TRAIN), "--config-file", str(folder / "chaos.yaml")]
    with open(folder / "output.txt", "wb") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        run = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield run
        run.wait(PATIENCE)
        check(run.returncode == 0, run)
    finally:
        # Torchrun ends its processes first; killed, it would leave them behind.
        run.terminate()
        run.wait(PATIENCE)


def wait_for(run: subprocess.Popen, condition) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        check(run.poll() is None and time.monotonic() < limit, run)
        time.sleep(0.0005)


def check(is_well: bool, run: subprocess.Popen) -> None:
    if not is_well:
        folder = Path(run.args[-1]).parent
        last = (folder / "output.txt").read_text()[-2000:]
        raise RuntimeError(f"{folder}: the training ended with {run.returncode} or hangs:\n{last}")


def unfinished(cfg: CfgNode) -> list[Path]:
    """Return the checkpoints whose writing has begun and not ended."""
    return list(Path(cfg.OUTPUT_DIR).glob(UNFINISHED.format(name="model_*", process="*")))


def last_iteration(cfg: CfgNode) -> int:
    files = Path(cfg.OUTPUT_DIR).glob("model_[0-9]*.pth")
    return max((int(path.stem.removeprefix("model_")) for path in files), default=-1)


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield the places where the results of two trainings differ by as much as a bit."""
    contents = [stored(folder) for folder in (first, second)]
    wanted = ("model", "trainer", "processes")
    yield from differing(*({key: content[key] for key in wanted} for content in contents))
    if metrics(first)[-1] != metrics(second)[-1]:
        yield "metrics.json"
