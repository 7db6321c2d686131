"""Fixtures that are dear to make, shared by the whole suite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, root: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs one of the project's commands as a user would, with ``root`` as the data folder."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def rooms_root(tmp_path_factory) -> Path:
    """A data folder with 24 small rooms images, made once for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    root = shared / "datasets"
    with FileLock(f"{root}.lock"):
        command = ["--size", "120x160", "--train", "15", "--val", "9", "--jobs", "1"]
        made = run("datasets/make_rooms.py", "--root", root, *command, root=root)
        assert made.returncode == 0, made.stderr
    return root
