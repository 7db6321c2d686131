"""Checkpoints are whole or not there, and the newest whole one is found."""

import os
import resource
from pathlib import Path

import pytest
import torch

from rock_d2.checkpoint.files import CheckpointFiles
from rock_d2.files import UNFINISHED, atomic_file

CONTENT = {"model": {"weight": torch.arange(1000.0)}}


def filled(folder: Path, *iterations: int, num_kept: int = 0) -> CheckpointFiles:
    files = CheckpointFiles(folder, num_kept)
    for iteration in iterations:
        files.write(f"model_{iteration:07d}", {**CONTENT, "iteration": iteration})
    return files


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_last_few_are_kept_and_none_with_higher_numbers_deleted(tmp_path):
    filled(tmp_path, 1, 2, 3, 9, num_kept=2).write("model_best", CONTENT)
    filled(tmp_path, 4, num_kept=2)
    # As Detectron2 reads it.
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert torch.load(tmp_path / "model_0000004.pth")["iteration"] == 4
    kept = [f"model_{name}.pth" for name in ("0000003", "0000004", "0000009", "best")]
    assert sorted(content_of(tmp_path)) == ["last_checkpoint", *kept]


def test_a_copy_with_other_times_has_the_same_newest_file(tmp_path):
    files = filled(tmp_path, 1, 2, 3)
    for age, iteration in enumerate((3, 1, 2)):
        os.utime(tmp_path / f"model_{iteration:07d}.pth", (100 + age, 100 + age))
    assert files.newest().name == "model_0000003.pth"
    # The process was killed between a file and its tag.
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    os.utime(tmp_path / "model_0000003.pth", (200, 200))
    assert files.newest().name == "model_0000003.pth"


@pytest.mark.parametrize("size", [0, 500, 3000, "wrong bit"])
def test_damaged_file_is_passed_over_and_named(tmp_path, size, heard):
    files, last = filled(tmp_path, 1, 2), tmp_path / "model_0000002.pth"
    content = bytearray(last.read_bytes())
    if size == "wrong bit":
        content[len(content) // 2] ^= 1
    else:
        del content[size:]
    last.write_bytes(content)
    assert files.newest() == tmp_path / "model_0000001.pth"
    assert "model_0000002.pth: damaged" in heard.text


@pytest.mark.parametrize("tag", ["", "model_0000001.pth", "../x"])
def test_newest_file_is_taken_also_if_the_tag_names_another(tmp_path, tag):
    files = filled(tmp_path, 1, 2)
    (tmp_path / "last_checkpoint").write_text(tag)
    assert files.newest() == tmp_path / "model_0000002.pth"


def test_newest_is_without_a_tag_by_time_then_by_name(tmp_path):
    files = filled(tmp_path, 1, 2)
    files.write("model_final", CONTENT)
    (tmp_path / "last_checkpoint").unlink()
    for path in tmp_path.glob("*.pth"):
        os.utime(path, (1, 1))
    assert files.newest() == tmp_path / "model_final.pth"
    os.utime(tmp_path / "model_0000001.pth", (2, 2))
    assert files.newest() == tmp_path / "model_0000001.pth"


def test_folder_without_a_checkpoint_and_one_without_a_whole_one(tmp_path):
    files = CheckpointFiles(tmp_path)
    files.write("model_best", CONTENT)
    assert files.newest() is None
    (tmp_path / "model_0000001.pth").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"none of its checkpoints loads \(model_0000001\.pth\)"):
        files.newest()


def test_full_disk_leaves_everything_as_it_was(tmp_path):
    files = filled(tmp_path, 1)
    before = content_of(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system says of a file beyond the limit what it says of a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    with pytest.raises(OSError, match="File too large"):
        files.write("model_0000002", CONTENT)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content_of(tmp_path) == before


def test_planted_link_is_not_written_through(tmp_path):
    (tmp_path / "diary").write_text("mine")
    for link in (UNFINISHED.format(name="file", process=os.getpid()), "file"):
        (tmp_path / link).symlink_to("diary")
    with atomic_file(tmp_path / "file") as file:
        file.write(b"new")
    assert content_of(tmp_path) == {"diary": b"mine", "file": b"new"}
