"""Two runs never write into one folder, and a killed run leaves it free."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import reproduce
from command_line import ROOT, run_warm

from rock_d2.engine.folder_lock import LOCK, take_folder

TRAIN = ("tools/train_net.py", "--config-file", "configs/rock_rooms.yaml", "MODEL.DEVICE", "cpu")
HOLD = (
    "import multiprocessing, sys, time\n"
    "from pathlib import Path\n"
    "from rock_d2.engine.folder_lock import take_folder\n"
    "take_folder(Path(sys.argv[1]), setting='OUTPUT_DIR')\n"
    # As a loader worker, it outlives a killed training.
    "worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
    "worker.start()\n"
    "print(worker.pid, flush=True)\n"
    "worker.join()\n"
)


@pytest.fixture
def held(tmp_path):
    """A folder that another process has; that process, and a child of it."""
    folder = tmp_path / "held"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        yield folder, holder, worker
        holder.kill()
        os.kill(worker, signal.SIGKILL)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_second_run_is_refused_before_it_touches_anything(held):
    folder, holder, _ = held
    (folder / "config.yaml").write_text("of the first run")
    before = contents(folder)
    done = run_warm(*TRAIN, "OUTPUT_DIR", folder, root=folder.parent)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"train_net: {folder} is in use by process {holder.pid} on ")
    assert line.endswith("wait until it has ended, end it, or choose another OUTPUT_DIR")
    assert contents(folder) == before


def test_reproduction_is_refused_in_a_folder_that_another_one_has(held, monkeypatch):
    folder, holder, _ = held
    words = ["reproduce.py", "1", "--dataset", "rooms", "--output", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        reproduce.main(reproduce.parse_args())
    assert end.value.code.startswith(f"reproduce: {folder} is in use by process {holder.pid} on ")
    assert end.value.code.endswith("choose another --output")
    assert list(contents(folder)) == [LOCK]


def test_killed_holder_leaves_the_folder_free_though_its_worker_lives(held):
    folder, holder, worker = held
    with pytest.raises(ValueError, match="is in use by process"):
        take_folder(folder, setting="OUTPUT_DIR")
    holder.kill()
    holder.wait()
    os.kill(worker, 0)
    take_folder(folder, setting="OUTPUT_DIR")
    assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_file_system_without_locks_is_told(tmp_path, monkeypatch, heard):
    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    take_folder(tmp_path, setting="OUTPUT_DIR")
    assert f"{tmp_path} cannot be kept from other runs: No locks available" in heard.text
