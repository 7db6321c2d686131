"""Fixtures that are costly to make, shared by the whole suite."""

import os
from pathlib import Path

import pytest
from command_line import run
from filelock import FileLock


@pytest.fixture(scope="session")
def rooms_root(tmp_path_factory) -> Path:
    """A data folder with 24 small rooms images, made once for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    root = shared / "datasets"
    with FileLock(f"{root}.lock"):
        if not (root / "rooms/annotations/rooms_val.json").exists():
            command = ["--size", "120x160", "--train", "15", "--val", "9", "--jobs", "1"]
            made = run("datasets/make_rooms.py", "--root", root, *command, root=root)
            assert made.returncode == 0, made.stderr
    return root
