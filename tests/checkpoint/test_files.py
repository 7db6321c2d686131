"""Checkpoints are whole or not there, and the newest whole one is found."""

import os
from pathlib import Path

import pytest
import torch
from quota import files_up_to

from rock_d2.checkpoint.files import CheckpointFiles
from rock_d2.files import UNFINISHED, atomic_file, remove_unfinished

CONTENT = {"model": {"weight": torch.arange(1000.0)}}


def filled(folder: Path, *iterations: int, num_kept: int = 0) -> CheckpointFiles:
    files = CheckpointFiles(folder, num_kept)
    for iteration in iterations:
        files.write(f"model_{iteration:07d}", {**CONTENT, "iteration": iteration})
    return files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_checkpoint_is_what_detectron2_would_read(tmp_path):
    filled(tmp_path, 1, 3).write("model_best", CONTENT)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert torch.load(tmp_path / "model_0000003.pth")["iteration"] == 3


def test_last_few_are_kept_also_by_another_process_and_none_with_higher_numbers_deleted(tmp_path):
    filled(tmp_path, 1, 2, 3, 9, num_kept=2).write("model_best", CONTENT)
    filled(tmp_path, 4, num_kept=2).write("model_final", CONTENT)
    kept = [f"model_{name}.pth" for name in ("0000003", "0000004", "0000009", "best", "final")]
    assert names(tmp_path) == ["last_checkpoint", *kept]


@pytest.mark.parametrize("size", [0, 500, 3000])
def test_torn_file_is_passed_over_and_named(tmp_path, size, heard):
    files = filled(tmp_path, 1, 2)
    os.truncate(tmp_path / "model_0000002.pth", size)
    assert files.newest() == tmp_path / "model_0000001.pth"
    assert "model_0000002.pth: damaged" in heard.text


def test_single_wrong_bit_is_noticed(tmp_path):
    files = filled(tmp_path, 1, 2)
    last = tmp_path / "model_0000002.pth"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert files.newest() == tmp_path / "model_0000001.pth"


@pytest.mark.parametrize("tag", [None, "", "model_0000001.pth", "nowhere.pth", "../x"])
def test_newest_file_is_taken_also_if_the_tag_names_another(tmp_path, tag):
    files = filled(tmp_path, 1, 2)
    (tmp_path / "last_checkpoint").unlink()
    if tag is not None:
        (tmp_path / "last_checkpoint").write_text(tag)
    # An index that earlier versions wrote.
    (tmp_path / "checkpoints.sha256").write_text("")
    assert files.newest() == tmp_path / "model_0000002.pth"


def test_newest_is_by_time_then_by_name(tmp_path):
    files = filled(tmp_path, 1, 2)
    files.write("model_final", CONTENT)
    for path in tmp_path.glob("*.pth"):
        os.utime(path, (1, 1))
    assert files.newest() == tmp_path / "model_final.pth"
    os.utime(tmp_path / "model_0000001.pth", (2, 2))
    assert files.newest() == tmp_path / "model_0000001.pth"


def test_folder_without_a_checkpoint_and_one_without_a_whole_one(tmp_path):
    files = CheckpointFiles(tmp_path)
    files.write("model_best", CONTENT)
    assert files.newest() is None
    filled(tmp_path, 1)
    os.truncate(tmp_path / "model_0000001.pth", 9)
    with pytest.raises(ValueError, match=r"none of its checkpoints loads \(model_0000001\.pth\)"):
        files.newest()


def test_full_disk_leaves_everything_as_it_was(tmp_path):
    files = filled(tmp_path, 1)
    before = content_of(tmp_path)
    with files_up_to(3000), pytest.raises(OSError, match="File too large"):
        files.write("model_0000002", CONTENT)
    assert content_of(tmp_path) == before


def test_interrupted_write_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")

    def write() -> None:
        with atomic_file(tmp_path / "file") as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert content_of(tmp_path) == {"file": b"old"}


def test_planted_link_is_not_written_through(tmp_path):
    (tmp_path / "diary").write_text("mine")
    process = os.getpid()
    for link in (".file.part", UNFINISHED.format(name="file", process=process), "file"):
        (tmp_path / link).symlink_to("diary")
    with atomic_file(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "diary").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"


def test_unfinished_files_of_killed_processes_are_deleted(tmp_path, heard):
    filled(tmp_path, 1)
    (tmp_path / UNFINISHED.format(name="model_0000002.pth", process=1)).write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["last_checkpoint", "model_0000001.pth"]
    assert "model_0000002.pth" in heard.text
