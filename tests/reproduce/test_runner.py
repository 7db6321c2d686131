"""Runs side by side, kept, resumed and reported, with a script in place of the training."""

import re
from pathlib import Path

import pytest

from reproduce.plan import Run
from reproduce.runner import CONSOLE, Runner, command_line, last_line, num_cores

# Takes the arguments of tools/train_net.py. What it has done so far, it notes in its folder.
SCRIPT = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("OUTPUT_DIR") + 1])
if "FAIL" in sys.argv:
    print("Traceback (most recent call last):")
    sys.exit("train_net: no such thing\\n")
with open(folder / "starts.txt", "a") as file:
    file.write(os.environ["OMP_NUM_THREADS"] + "\\n")
if "STOP" in sys.argv and not (folder / "model_0000004.pth").exists():
    (folder / "model_0000004.pth").touch()
    os.kill(os.getpid(), 9)
times = folder.parents[1] / "times.txt"
with open(times, "a") as file:
    file.write(f"+ {folder}\\n")
# However long each takes to start; alone it goes on after all.
end = time.monotonic() + 60
while "MEET" in sys.argv and times.read_text().count("+ ") < 2 and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(9.0 if "LONG" in sys.argv else 0.5)
with open(times, "a") as file:
    file.write(f"- {folder}\\n")
(folder / "model_final.pth").touch()
(folder / "results.json").write_text("{}")
"""


@pytest.fixture
def new_runner(tmp_path):
    script = tmp_path / "train_net.py"
    script.write_text(SCRIPT)

    def build(jobs: int = 1) -> tuple[Runner, list[str]]:
        lines: list[str] = []
        return Runner(script, jobs=jobs, tell=lines.append), lines

    return build


def run_of(tmp_path: Path, name: str, *settings: str, trained: Run | None = None) -> Run:
    return Run(name, 1, tmp_path / "out" / name / "seed1", "base.yaml", settings, trained)


def test_a_failed_run_is_reported_and_the_others_go_on(new_runner, tmp_path):
    runner, lines = new_runner()
    runs = [run_of(tmp_path, "bad", "FAIL", "1"), run_of(tmp_path, "good")]
    runner.run(runs)
    assert runs[1].finished and not runs[0].finished
    assert runner.failed == {runs[0]: "failed with exit status 1: train_net: no such thing"}
    assert lines[0] == "2 runs: 0 finished before, 2 to do, 1 at a time"
    assert re.fullmatch(r"\[1/2\] bad seed 1: failed .* after 0:00:\d\d; eta 0:00:\d\d", lines[1])
    assert re.fullmatch(r"\[2/2\] good seed 1: finished after 0:00:\d\d; eta 0:00:00", lines[2])


def test_finished_runs_are_kept_and_interrupted_ones_go_on(new_runner, tmp_path):
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", "STOP", "1")]
    first, _ = new_runner()
    first.run(runs)
    assert "exit status -9" in first.failed[runs[1]]
    again, lines = new_runner()
    again.run(runs)
    assert not again.failed and lines[0].startswith("2 runs: 1 finished before, 1 to do")
    starts = [len((run.folder / "starts.txt").read_text().split()) for run in runs]
    assert starts == [1, 2]
    # What the interruption left is no longer needed.
    assert sorted(file.name for file in runs[1].folder.glob("*.pth")) == ["model_final.pth"]


def test_jobs_run_side_by_side_and_share_the_cores(new_runner, tmp_path):
    runs = [run_of(tmp_path, name, "MEET", "1") for name in "abcd"]
    runner, _ = new_runner(jobs=2)
    runner.run(runs)
    signs = [line[0] for line in (tmp_path / "out" / "times.txt").read_text().splitlines()]
    running = [sum(1 if s == "+" else -1 for s in signs[: i + 1]) for i in range(len(signs))]
    assert max(running) == 2
    threads = {(run.folder / "starts.txt").read_text().strip() for run in runs}
    assert threads == {str(max(1, num_cores() // 2))}


def test_an_evaluation_waits_for_its_training(new_runner, tmp_path):
    trained = run_of(tmp_path, "trained")
    runner, _ = new_runner(jobs=2)
    runner.run([trained, run_of(tmp_path, "evaluated", trained=trained)])
    lines = (tmp_path / "out" / "times.txt").read_text().splitlines()
    assert [line.split("/")[-2] for line in lines] == ["trained"] * 2 + ["evaluated"] * 2


def test_whatever_ends_it_ends_its_runs(new_runner, tmp_path):
    def interrupt(line: str) -> None:
        if line.startswith("["):
            raise KeyboardInterrupt

    runner, _ = new_runner(jobs=2)
    runner.tell = interrupt
    runs = [run_of(tmp_path, "short", "MEET", "1"), run_of(tmp_path, "long", "LONG", "1")]
    with pytest.raises(KeyboardInterrupt):
        runner.run(runs)
    assert [run.finished for run in runs] == [True, False]
    # It has been waited for, so it will not finish later either.
    lines = (tmp_path / "out" / "times.txt").read_text().splitlines()
    assert sorted(line[0] for line in lines if "long" in line) == ["+"]


def test_command_line_is_for_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_of(tmp_path, "model", "MODEL.ROCK.TASKS", '["A"]')
    assert command_line(run, tmp_path / "tools" / "train_net.py") == (
        "python tools/train_net.py --config-file base.yaml --resume MODEL.ROCK.TASKS '[\"A\"]' "
        "SEED 1 OUTPUT_DIR out/model/seed1"
    )


def test_last_line_says_something(tmp_path):
    (tmp_path / CONSOLE).write_text("one\ntwo  \n\n \n")
    assert last_line(tmp_path / CONSOLE) == "two"
    (tmp_path / CONSOLE).write_text("")
    assert last_line(tmp_path / CONSOLE) == "its log is empty"
