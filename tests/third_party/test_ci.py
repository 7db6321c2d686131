"""The commit check goes on without a browser, and says so."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "install_chromium"


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ({}, "no apt-get"),
        ({"apt-get": "exit 100"}, "apt-get brought none"),
        # Ubuntu's stand-in for a browser is none.
        ({"apt-get": "exit 100", "chromium-browser": "exit 1"}, "apt-get brought none"),
        ({"chromium": "echo Chromium 1"}, ""),
    ],
    ids=["no package manager", "no network", "stand-in", "browser"],
)
def test_missing_browsers_are_told_and_no_failure(programs, message, tmp_path):
    for name in ("bash", "env", "id", "timeout", "sudo"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!{shutil.which('bash')}\n{line}\n")
        (tmp_path / name).chmod(0o755)
    only_these = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run([SCRIPT], env=only_these, capture_output=True, text=True)
    assert done.returncode == 0
    assert message in done.stderr and bool(done.stderr) == bool(message)
