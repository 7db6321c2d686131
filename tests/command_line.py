"""Runs the project's commands as a user would."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, root: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run one of the project's commands as a user would, with ``root`` as the data folder."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )
