"""Commands that make would run."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def commands(*arguments: str) -> list[list[str]]:
    command = ["make", "--no-print-directory", "--dry-run", "PYTHON=python", *arguments]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_training_takes_options_and_settings_and_draws_what_it_trained():
    given = "--resume SEED 1 OUTPUT_DIR elsewhere"
    train, draw = commands("train", f"ARGS={given}", "OUTPUT=here")[-2:]
    config = train.index("--config-file")
    assert (Path(__file__).parents[1] / train[config + 1]).exists()
    # The last one counts.
    assert train[config + 2 :] == [*given.split(), "OUTPUT_DIR", "here"]
    assert draw[draw.index("--weights") + 1] == "here/model_final.pth"


def test_tests_run_in_at_most_4_processes_of_one_thread():
    test = commands("test")[-1]
    assert "OMP_NUM_THREADS=1" in test and "--maxprocesses=4" in test
