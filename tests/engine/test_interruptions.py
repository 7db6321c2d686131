"""Signals, killed processes and steps that are not finite: how a training ends, and goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from command_line import ROOT
from detectron2.engine.hooks import CallbackHook
from quota import files_up_to
from trainings import few_rooms, first_images, new_trainer, stored
from two_processes import EMA

from rock_d2.engine.ending import (
    DataUnreadable,
    Diverged,
    Interrupted,
    NotSaved,
    ProcessLost,
    Refused,
    exit_with_code,
)
from rock_d2.engine.setup import claim
from fuzz.chaos import differing, metrics

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1")
SCRIPT = "tests/engine/two_processes.py"
PREFIX = "two_processes: "


@pytest.fixture(scope="module")
def ends(rooms_root, tmp_path_factory) -> Path:
    """What two processes leave, in all of two_processes.py; before them there was one."""
    folder = tmp_path_factory.mktemp("two")
    with few_rooms(rooms_root):
        new_trainer(folder / "alone", *EMA, "SOLVER.MAX_ITER", 3).train()
    shutil.copytree(folder / "alone", folder / "still alone")
    command = [sys.executable, *TORCHRUN, SCRIPT, str(rooms_root), str(folder)]
    environment = os.environ | {"PYTHONPATH": "tests", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as torchrun:
        lines = list(map(partial(end_stopped, folder / "stopped"), torchrun.stderr))
    # Whatever its processes end with, and here one hung at last.
    assert torchrun.returncode == 1, "".join(lines)
    assert (folder / "ends0.json").exists() and (folder / "stopped").exists(), "".join(lines)
    (folder / "told.txt").write_text("".join(x for x in lines if x.startswith(PREFIX)))
    return folder


def end_stopped(stopped: Path, line: str) -> str:
    """Spares torchrun the half minute after which it kills what does not listen."""
    if line.startswith(PREFIX):
        os.kill(int(stopped.read_text()), signal.SIGKILL)
    return line


def ends_of(folder: Path, name: str) -> list[dict]:
    return [json.loads((folder / f"ends{rank}.json").read_text())[name] for rank in (0, 1)]


def test_signal_to_one_of_two_processes_ends_both_after_one_iteration_more(ends):
    for end in ends_of(ends, "asked"):
        assert (end["end"], end["iteration"]) == ("Interrupted", 3)
        assert "ended by signal 15 after 4 of 6" in end["text"]
        assert "asked/model_0000003.pth, and --resume goes on" in end["text"]


def test_two_processes_that_were_asked_to_end_go_on_bit_for_bit(ends):
    straight, resumed = stored(ends / "straight"), stored(ends / "asked")
    for content in (straight, resumed):
        # Only one of them had a checkpoint period.
        del content["identity"]["others"]
    assert differing(straight, resumed) == []
    assert len(straight["processes"]) == 2
    assert metrics(ends / "straight") == metrics(ends / "asked")


def test_both_of_two_processes_end_in_the_step_that_is_not_finite(ends):
    for end in ends_of(ends, "diverging"):
        assert (end["end"], end["iteration"]) == ("Diverged", 3)
        assert "iteration 3: a loss is not finite: process 1: loss_cls nan" in end["text"]
        assert end["text"].count("rooms/images/") == 2
        assert end["text"].endswith("diverging/model_0000002.pth")
    assert not (ends / "diverging" / "model_final.pth").exists()


def test_torchrun_resumes_by_itself_when_a_process_is_killed(ends):
    assert differing(stored(ends / "straight"), stored(ends / "killed")) == []
    assert metrics(ends / "straight") == metrics(ends / "killed")


def test_process_that_hangs_is_named_in_time(ends):
    (line,) = (ends / "told.txt").read_text().splitlines()
    assert line.startswith("two_processes: process 0: process 1 died or hangs: ")


def test_two_processes_go_on_with_what_one_has_left_only_if_told_to(ends, rooms_root):
    for end in ends_of(ends, "refused"):
        assert "processes was 1 and is 2. Restore these, choose another OUTPUT_DIR" in end["text"]
        assert end["text"].endswith("or go on with --resume-anyway")
    with few_rooms(rooms_root):
        alone = new_trainer(ends / "still alone", *EMA, resume=True)
    ends_anyway = ends_of(ends, "anyway")
    assert [end["start"] for end in ends_anyway] == [alone.start_iter] * 2 == [3, 3]
    # The batches go on where they were: each process has its half of the next one.
    images = [image for end in ends_anyway for image in end["images"]]
    assert images == first_images(alone)
    weights = alone.checkpointer.model.state_dict()
    for rank in (0, 1):
        assert differing(weights, stored(ends / "alone", f"loaded{rank}")) == []
    final = stored(ends / "alone")
    assert (final["trainer"]["iteration"], len(final["processes"])) == (5, 2)
    assert [line["iteration"] for line in metrics(ends / "alone")] == [2, 5]


def test_one_process_goes_on_with_what_two_have_left_only_if_told_to(ends, rooms_root, tmp_path):
    folder = tmp_path / "alone"
    shutil.copytree(ends / "straight", folder)
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    with few_rooms(rooms_root):
        with pytest.raises(ValueError, match=r"processes was 2 and is 1. Rest.*--resume-anyway"):
            new_trainer(folder, *EMA, resume=True)
        trainer = new_trainer(folder, *EMA, resume=True, anyway=True)
        trainer.train()
    assert trainer.start_iter == 4
    assert (trainer.iter, len(stored(folder)["processes"])) == (6, 1)
    assert [line["iteration"] for line in metrics(folder)] == [2, 5]


def test_signal_ends_the_training_after_its_iteration(rooms_root, tmp_path):
    def ask(trainer) -> None:
        if trainer.iter == 1:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with few_rooms(rooms_root):
        trainer = new_trainer(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 100)
        trainer.register_hooks([CallbackHook(before_step=ask)])
        with pytest.raises(Interrupted, match=r"signal 2 after 2 of 6.*model_0000001.pth"):
            trainer.train()
    assert stored(tmp_path, "model_0000001")["trainer"]["iteration"] == 1
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("must_save", [True, False])
def test_full_disk_ends_the_training_or_is_told(must_save, rooms_root, tmp_path, heard):
    def saving(trainer) -> None:
        # Metrics and events fit, 3 MB of weights do not.
        quota.enter_context(files_up_to(200_000 if trainer.iter == 2 else 1 << 40))

    settings = ("SOLVER.STOP_IF_NOT_SAVED", must_save)
    with few_rooms(rooms_root), ExitStack() as quota:
        trainer = new_trainer(tmp_path, *settings)
        trainer.register_hooks([CallbackHook(before_step=saving)])
        if must_save:
            with pytest.raises(NotSaved, match=r"2.pth cannot be written: File too large; .*1.pth"):
                trainer.train()
        else:
            trainer.train()
            assert "0000002.pth cannot be written: File too large; the training goes" in heard.text
    assert trainer.checkpointer.store.find_last().stem == (
        "model_0000001" if must_save else "model_final"
    )
    assert not list(tmp_path.glob(".*.part"))
    assert not (tmp_path / "model_0000002.pth").exists()


@contextmanager
def nobody_may_write(folder: Path) -> Iterator[None]:
    """Root may write anywhere: it is somebody else for the while."""
    user = os.geteuid()
    folder.chmod(0o555)
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_read_only_folder_is_told_and_its_checkpoints_stay(rooms_root):
    # Not pytest's folder, which nobody but its owner may read.
    with tempfile.TemporaryDirectory() as name, few_rooms(rooms_root):
        folder = Path(name)
        folder.chmod(0o755)
        checkpointer = new_trainer(folder).checkpointer
        checkpointer.save("model_0000000")
        before = checkpointer.store.checksums()
        with (
            nobody_may_write(folder),
            pytest.raises(NotSaved, match=r"1.pth cannot be written: Permission denied; .*0.pth"),
        ):
            checkpointer.save("model_0000001")
        assert checkpointer.store.checksums() == before
        assert checkpointer.store.find_last() == folder / "model_0000000.pth"
        with nobody_may_write(folder), pytest.raises(ValueError, match=r"OUTPUT_DIR .* cannot be"):
            claim(folder)


def test_second_signal_ends_the_process_at_once_unless_it_is_the_first_ones_echo():
    code = (
        "import os, signal, time\n"
        "from rock_d2.engine.signals import ECHO, StopSignals\n"
        "signals = StopSignals(60)\n"
        "signals.install()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "print(signals.agreed(), flush=True)\n"
        "time.sleep(ECHO)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (143, "15\n")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        *((Interrupted, 75), (NotSaved, 74), (Diverged, 70), (ProcessLost, 69)),
        *((DataUnreadable, 65), (Refused, 1)),
    ],
)
def test_each_ending_has_its_exit_code_and_one_line(ending, code, capsys):
    def train() -> None:
        with exit_with_code("train_net"):
            raise ending("why and what to do")

    with pytest.raises(SystemExit) as end:
        train()
    assert end.value.code == code
    assert capsys.readouterr().err == "train_net: why and what to do\n"
