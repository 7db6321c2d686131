"""Runs side by side, kept and resumed, with a script in place of the training."""

from pathlib import Path

import pytest

from reproduce.plan import Run
from reproduce.runner import Runner

# Takes the arguments of tools/train_net.py. It notes its starts and ends in its folder's parents.
SCRIPT = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("OUTPUT_DIR") + 1])
times = folder.parents[1] / "times.txt"
def note(sign):
    with open(times, "a") as file:
        file.write(f"{sign} {folder.parent.name}\\n")
note("+")
if "FAIL" in sys.argv:
    print("Traceback (most recent call last):")
    sys.exit("train_net: no such thing\\n")
if "STOP" in sys.argv and not (folder / "model_0000004.pth").exists():
    (folder / "model_0000004.pth").touch()
    os.kill(os.getpid(), 9)
# Until the other has started; alone it ends after all.
end = time.monotonic() + 20
while "MEET" in sys.argv and times.read_text().count("+ ") < 2 and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(60 if "LONG" in sys.argv else 0)
note("-")
(folder / "model_final.pth").touch()
(folder / "results.json").write_text("{}")
"""


@pytest.fixture
def new_runner(tmp_path):
    script = tmp_path / "train_net.py"
    script.write_text(SCRIPT)
    return lambda jobs=1, report=print: Runner(script, jobs=jobs, report=report)


def run_of(tmp_path: Path, name: str, *settings: str, **needed: Run) -> Run:
    return Run(name, 1, tmp_path / "out" / name / "seed1", "base.yaml", settings, **needed)


def notes(tmp_path: Path) -> list[str]:
    return (tmp_path / "out" / "times.txt").read_text().splitlines()


def test_a_failed_run_does_not_stop_the_others(new_runner, tmp_path):
    runner = new_runner()
    bad, good = run_of(tmp_path, "bad", "FAIL", "1"), run_of(tmp_path, "good")
    evaluation = run_of(tmp_path, "evaluated", trained=bad)
    tuned = run_of(tmp_path, "tuned", pretrained=good)
    runner.run([tuned, bad, good, evaluation])
    assert good.finished and not bad.finished
    assert notes(tmp_path) == ["+ bad", "+ good", "- good", "+ tuned", "- tuned"]
    assert runner.failed[bad] == "failed with exit status 1: train_net: no such thing"
    # Its model is missing.
    assert runner.failed.keys() == {bad, evaluation} and not evaluation.folder.exists()


def test_finished_runs_are_kept_and_interrupted_ones_are_resumed(new_runner, tmp_path):
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", "STOP", "1")]
    first, again = new_runner(), new_runner()
    first.run(runs)
    assert "exit status -9" in first.failed[runs[1]]
    again.run(runs)
    assert not again.failed
    assert notes(tmp_path) == ["+ whole", "- whole", "+ cut", "+ cut", "- cut"]
    # The checkpoint of the interruption is no longer needed.
    assert sorted(file.name for file in runs[1].folder.glob("*.pth")) == ["model_final.pth"]


def test_an_interruption_ends_the_runs(new_runner, tmp_path):
    def interrupt(line: str) -> None:
        if line.startswith("short"):
            raise KeyboardInterrupt

    runs = [run_of(tmp_path, "short", "MEET", "1"), run_of(tmp_path, "long", "LONG", "1")]
    with pytest.raises(KeyboardInterrupt):
        new_runner(jobs=2, report=interrupt).run(runs)
    assert [run.finished for run in runs] == [True, False]
    # It has been waited for, so it will not finish later either.
    assert "- long" not in notes(tmp_path)
