"""What holds for all command lines."""

import json
import sys
from pathlib import Path

import pytest
from command_line import ROOT, SLOW, run

TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
HELP = """
import runpy, sys
sys.path.insert(0, "tools")
slow = set(sys.argv[2:])
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code
assert not slow & sys.modules.keys(), slow & sys.modules.keys()
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_help_tells_what_a_tool_does_and_waits_for_nothing(tool, tmp_path):
    done = run("-c", HELP, f"tools/{tool}", *SLOW, root=tmp_path)
    assert done.returncode == 0, done.stderr
    documentation = Path(ROOT, "tools", tool).read_text().split('"""')[1]
    assert documentation.splitlines()[0] in done.stdout
    assert f"usage: {tool}" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the loader's workers are forked")
def test_training_on_two_images_lowers_their_loss(rooms_root, tmp_path):
    done = run(
        *("-W", "ignore", "tools/overfit.py", "--num-images", "2", "--iterations", "25"),
        *("--config-file", "configs/quick_schedules/rock_rooms_quick.yaml"),
        *("INPUT.SIZE", "[48,64]", "OUTPUT_DIR", tmp_path),
        root=rooms_root,
    )
    assert done.returncode == 0, done.stderr
    first, last = (
        sum(float(loss.split()[-1]) for loss in line.split(": ")[1].split(", "))
        for line in done.stdout.splitlines()
        if ": loss_cls" in line
    )
    assert last < 0.7 * first
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("depth/rmse ")]
    ((_, before, after),) = rows
    assert float(after) < float(before)


def test_benchmark_of_postprocessing_writes_every_round(tmp_path):
    file = tmp_path / "times.json"
    done = run(
        *("-W", "ignore", "tools/benchmark.py", "postprocess", "--rounds", "2"),
        *("--batch-size", "1", "--threads", "1", "--json", file),
        root=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "rock_d2 / loop over images and classes:" in done.stdout
    assert {len(times) for times in json.loads(file.read_text())["seconds"].values()} == {2}
