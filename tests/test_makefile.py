"""What `make train` would run."""

import shlex
import shutil
import subprocess

import pytest
from command_line import ROOT

from rock_d2.engine.arguments import training_parser

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def commands(*variables: str) -> list[list[str]]:
    command = ["make", "--no-print-directory", "--dry-run", "train", "PYTHON=python", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines() if "tools/" in line]


@pytest.mark.parametrize(
    ("given", "resume", "settings"),
    [
        ("", False, []),
        ("SEED 1", False, ["SEED", "1"]),
        ("--resume", True, []),
        ("--resume SEED 1", True, ["SEED", "1"]),
        ("OUTPUT_DIR elsewhere", False, ["OUTPUT_DIR", "elsewhere"]),
    ],
)
def test_training_takes_options_and_settings_and_draws_what_it_trained(given, resume, settings):
    train, draw = commands(f"ARGS={given}", "OUTPUT=here")
    args = training_parser("").parse_args(train[2:])
    assert args.resume == resume
    # The last one counts.
    assert args.opts == [*settings, "OUTPUT_DIR", "here"]
    assert draw[draw.index("--weights") + 1] == "here/model_final.pth"
