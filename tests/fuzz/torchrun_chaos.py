"""Several processes under torchrun, of which one is killed from time to time."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from fuzz.chaos import PATIENCE, ChaosError, Outcome, chaos_config, differences
from fuzz.chaos import last_iteration as last_iteration_of

ITERATIONS_PER_KILL = 6
# Torchrun waits half a minute for its processes before it kills them.
SECONDS_TO_END = 45


def run_torchrun_chaos(
    folder: Path, script: Path, *, processes: int, kills: int, seed: int
) -> Outcome:
    """Kills a process each time that some iterations have been saved since the last time.

    Args:
        folder: for what the trainings write.
        script: tools/train_net.py.
        processes: of the training.
        kills: as many restarts torchrun is allowed.
        seed: of which process it is, and when.
    """
    rng = np.random.default_rng(seed)
    outcome = Outcome(iterations=ITERATIONS_PER_KILL * (kills + 1), events=Counter())
    folders = [folder / name for name in ("peace", "chaos")]
    for place, restarts in zip(folders, (0, kills), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        cfg = chaos_config(place, outcome.iterations)
        (place / "chaos.yaml").write_text(cfg.dump())
        with open(place / "output.txt", "wb") as log:
            run = subprocess.Popen(
                command(script, place / "chaos.yaml", processes, restarts),
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        try:
            for i in range(restarts):
                wait_for_iteration(run, cfg, ITERATIONS_PER_KILL * i + int(rng.integers(1, 4)))
                victims = children(run.pid)
                os.kill(victims[rng.integers(len(victims))], signal.SIGKILL)
                outcome.events[f"of {processes} killed, all restarted by torchrun"] += 1
            code = run.wait(PATIENCE)
        finally:
            end(run)
        if code:
            raise ChaosError(
                f"torchrun ended with {code}: {(place / 'output.txt').read_text()[-2000:]}"
            )
    outcome.differences = list(differences(*folders))
    return outcome


def command(script: Path, config: Path, processes: int, restarts: int) -> Sequence[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    workers = [f"--nproc_per_node={processes}", f"--max-restarts={restarts}"]
    return [*torchrun, *workers, str(script), "--config-file", str(config)]


def end(run: subprocess.Popen) -> None:
    """Asks torchrun to end, which ends its processes first; killed, it would leave them behind."""
    run.terminate()
    try:
        run.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        run.kill()


def wait_for_iteration(run: subprocess.Popen, cfg: CfgNode, iteration: int) -> None:
    """Waits until that iteration is in a checkpoint."""
    end = time.monotonic() + PATIENCE
    while last_iteration_of(cfg) < iteration:
        if run.poll() is not None or time.monotonic() > end:
            raise ChaosError(
                f"iteration {iteration} was never reached; see {cfg.OUTPUT_DIR}/output.txt"
            )
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
