"""Runs the project's commands as a user would."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, root: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run one of the project's commands as a user would, with ``root`` as the data folder."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment_of(root) | environment,
        capture_output=True,
        text=True,
    )


def run_warm(*command: str | Path, root: Path) -> subprocess.CompletedProcess:
    """Run a command in a copy of a process that has rock_d2 imported, which takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        consoles = [Path(folder, name) for name in ("stdout", "stderr")]
        for console in consoles:
            console.touch()
        asked = {"arguments": list(map(str, command)), "environment": environment_of(root)}
        asked["consoles"] = list(map(str, consoles))
        python = warm_python()
        print(json.dumps(asked), file=python.stdin, flush=True)
        code = int(python.stdout.readline())
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in consoles))


@functools.cache
def warm_python() -> subprocess.Popen:
    """Return a process that ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("warm_python.py"))],
        cwd=ROOT,
        env=environment_of(ROOT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def environment_of(root: Path) -> dict[str, str]:
    return os.environ | {"DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"}
