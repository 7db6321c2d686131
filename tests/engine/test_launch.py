"""The processes of `--num-gpus`: how they are started, asked to end, killed, and left alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import ROOT, run

from rock_d2.engine.checkpoint_store import CheckpointStore
from rock_d2.engine.children import Children
from rock_d2.engine.launch import check_processes

TRAINING = (
    *("tools/train_net.py", "--config-file", "configs/quick_schedules/rock_rooms_quick.yaml"),
    *("--num-gpus", 2, "--dist-url", "auto", "MODEL.DEVICE", "cpu", "INPUT.SIZE", "[48, 64]"),
    *("MODEL.RESNETS.OUT_FEATURES", "['res4']", "MODEL.SSD.IN_FEATURES", "['res4']"),
    *("MODEL.ROCK.IN_FEATURE", "res4", "MODEL.ROCK.WIDTH", 32, "MODEL.SSD.EXTRA_CHANNELS", "[32]"),
    *("DATASETS.TEST", "()", "TEST.EVAL_PERIOD", 0, "DATALOADER.NUM_WORKERS", 1),
    *("SOLVER.MAX_ITER", 100_000, "SOLVER.LOG_PERIOD", 1, "SOLVER.CHECKPOINT_PERIOD", 5),
    *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.SKIP_NONFINITE", 100_000),
)
EXCHANGE = ("tests/engine/launched.py",)
PATIENCE = 90


@contextmanager
def started(
    *command: object, works: str, output: Path, root: Path | str = ""
) -> Iterator[subprocess.Popen]:
    """A command in a session of its own, once it has written twice what shows that it works."""
    environment = os.environ | {"DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"}
    with output.open("w") as console:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=environment,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: output.read_text().count(works) > 1 or process.poll() is not None)
        assert process.poll() is None, output.read_text()
        yield process
    finally:
        for pid in session_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_for(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def session_of(leader: int) -> dict[int, list[str]]:
    """What /proc says of the processes in a session, zombies among them."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader:
            found[int(file.parent.name)] = fields
    return found


def children_of(parent: int, leader: int) -> list[int]:
    """In the order in which they were started."""
    return sorted(pid for pid, stat in session_of(leader).items() if int(stat[1]) == parent)


def told(output: Path) -> list[str]:
    lines = output.read_text().splitlines()
    return [line for line in lines if line.startswith(("train_net: ", "launched: "))]


def iterations(folder: Path) -> list[int]:
    lines = (folder / "metrics.json").read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_training_of_two_processes_loses_a_worker_goes_on_and_is_asked_to_end(rooms_root, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "console.txt"
    command = (*TRAINING, "OUTPUT_DIR", folder)
    saves = "Saving checkpoint to"
    with started(*command, works=saves, output=output, root=rooms_root) as process:
        last = children_of(process.pid, process.pid)[-1]
        (worker,) = children_of(last, process.pid)
        os.kill(worker, signal.SIGKILL)
        assert process.wait(PATIENCE) == 69
        wait_for(lambda: not session_of(process.pid))
    lost = rf"train_net: process 1: a loader worker is lost: DataLoader worker \(pid {worker}\)"
    assert len([line for line in told(output) if re.match(lost, line)]) == 1
    assert "Traceback" not in output.read_text()
    saved = CheckpointStore(folder).find_last()
    assert saved.name == f"model_{output.read_text().count(saves) * 5 - 1:07d}.pth"

    resume = (*command[:3], "--resume", *command[3:])
    with started(*resume, works="/100000  eta ", output=output, root=rooms_root) as process:
        # As a scheduler sends it: loader workers get it, too.
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        wait_for(lambda: not session_of(process.pid))
    (line,) = told(output)
    found = re.match(r"train_net: process 0: ended by signal 15 after (\d+) of 100000 iter", line)
    assert CheckpointStore(folder).find_last().name in line
    assert "Traceback" not in output.read_text()
    # It went on after what was saved, which is all still there.
    assert f"model_{int(found[1]) - 1:07d}.pth" in line and saved.exists()
    assert f"from iteration {int(saved.stem[-7:]) + 1}\n" in output.read_text()
    assert iterations(folder) == list(range(int(found[1])))


def test_signal_to_the_starting_process_alone_reaches_the_others(tmp_path):
    output = tmp_path / "console.txt"
    with started(*EXCHANGE, works="process 1: 2 in all", output=output) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 75
    assert told(output) == ["launched: process 0: asked by signal 2"]
    # PyTorch's own groups would wait half an hour, whatever the training's wait is.
    for rank in (0, 1):
        assert f"process {rank}: groups wait {{60}} s\n" in output.read_text()


def test_killed_process_ends_the_other_in_time(tmp_path):
    output = tmp_path / "console.txt"
    with started(*EXCHANGE, works="process 1: 2 in all", output=output) as process:
        os.kill(children_of(process.pid, process.pid)[-1], signal.SIGKILL)
        assert process.wait(PATIENCE) == 69
        wait_for(lambda: not session_of(process.pid))
    survivor, parent = told(output)
    assert survivor.startswith("launched: process 0: process 1 died or hangs: ")
    assert parent.startswith("launched: process 1 of this machine was killed by SIGKILL; --resume")


def test_processes_whose_parent_is_killed_end_as_if_asked(tmp_path):
    output = tmp_path / "console.txt"
    with started(*EXCHANGE, works="process 1: 2 in all", output=output) as process:
        process.kill()
        process.wait()
        wait_for(lambda: not session_of(process.pid))
    assert told(output) == ["launched: process 0: asked by signal 2"]


def test_what_all_processes_refuse_is_told_once():
    done = run(*EXCHANGE, "refuse", root=ROOT)
    assert done.returncode == 1
    assert re.fullmatch("launched: process [01]: it cannot be\n", done.stderr)


@pytest.mark.parametrize(
    ("ended", "asked", "code"),
    [
        ([(1, 0), (0, 0)], 0, 0),
        ([(0, 69), (1, 65)], 0, 65),
        ([(0, 69)], 0, 69),
        ([(0, 69), (1, -9)], 0, 69),
        ([(1, 74), (0, 74)], 0, 74),
        ([(1, 75), (0, 75)], 15, 75),
        ([(1, 143), (0, 143)], 15, 143),
        ([(1, -15), (0, -15)], 15, 143),
        ([(1, 1), (0, 69)], 0, 1),
    ],
)
def test_exit_code_is_that_of_the_cause(ended, asked, code):
    children = Children("train_net")
    children._signal = asked
    assert children._exit_code(ended) == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank is 2; .*must be 0 to 1"),
        ({"num_machines": 2, "dist_url": "auto"}, "--dist-url is auto; .*where there is one"),
        ({"dist_url": "tcp://127.0.0.1"}, "--dist-url is tcp://127.0.0.1; .*HOST:PORT"),
        ({"dist_url": "file:///tmp/x"}, "--dist-url is file"),
        ({"dist_url": "tcp://127.0.0.1:port"}, "--dist-url is tcp://127.0.0.1:port; .*HOST:PORT"),
        ({"dist_url": "tcp://127.0.0.1:99999"}, "--dist-url is tcp://127.0.0.1:99999; .*HOST:PORT"),
        ({"device": "cuda:1"}, "MODEL.DEVICE is cuda:1; .*set MODEL.DEVICE cuda"),
        ({"device": "cuda", "num_gpus": 999}, r"--num-gpus is 999, but PyTorch sees \d+ GPU"),
    ],
)
def test_processes_that_cannot_be_are_refused(arguments, message):
    given = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"} | arguments
    with pytest.raises(ValueError, match=message):
        check_processes(Namespace(**given), given.get("device", "cpu"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", "MODEL.DEVICE is cuda:1; .*set MODEL.DEVICE cuda"),
        ("cuda", r"--nproc_per_node is 999, but PyTorch sees \d+ GPU"),
    ],
)
def test_processes_of_torchrun_that_cannot_be_are_refused(device, message, monkeypatch):
    environment = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "999", "LOCAL_WORLD_SIZE": "999"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arguments = Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    check_processes(arguments, "cpu")
    with pytest.raises(ValueError, match=message):
        check_processes(arguments, device)
