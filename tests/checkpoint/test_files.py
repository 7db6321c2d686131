"""Checkpoints are whole or not there; what is torn is noticed, and nothing is lost in silence."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from quota import files_up_to

from rock_d2.checkpoint.files import CheckpointStore
from rock_d2.files import atomic_file

CONTENT = {"model": {"weight": torch.arange(1000.0)}}


def filled(folder: Path, *iterations: int, num_kept: int = 0) -> CheckpointStore:
    store = CheckpointStore(folder, num_kept)
    for iteration in iterations:
        store.write(f"model_{iteration:07d}", {**CONTENT, "iteration": iteration})
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_is_what_detectron2_would_read(tmp_path):
    filled(tmp_path, 1, 3)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert torch.load(tmp_path / "model_0000003.pth")["iteration"] == 3


def test_checksums_are_those_of_sha256sum(tmp_path):
    filled(tmp_path, 1, 3).write("model_best", CONTENT)
    command = ["sha256sum", "--strict", "--check", "checkpoints.sha256"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count(": OK") == 3


def test_last_few_are_kept_also_by_another_process(tmp_path):
    filled(tmp_path, 1, 2, 3, num_kept=2).write("model_best", CONTENT)
    filled(tmp_path, 4, num_kept=2).write("model_final", CONTENT)
    kept = ["model_0000003.pth", "model_0000004.pth", "model_best.pth", "model_final.pth"]
    assert names(tmp_path) == ["checkpoints.sha256", "last_checkpoint", *kept]
    assert sorted(CheckpointStore(tmp_path).checksums()) == kept


@pytest.mark.parametrize("size", [0, 500, 3000])
def test_torn_file_is_passed_over_and_named(tmp_path, size, heard):
    store = filled(tmp_path, 1, 2)
    last = tmp_path / "model_0000002.pth"
    assert last.stat().st_size > size
    os.truncate(last, size)
    assert store.find_last() == tmp_path / "model_0000001.pth"
    assert "model_0000002.pth is damaged" in heard.text


def test_single_wrong_bit_is_noticed(tmp_path):
    store = filled(tmp_path, 1, 2)
    last = tmp_path / "model_0000002.pth"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert store.find_last() == tmp_path / "model_0000001.pth"


def test_missing_file_is_passed_over_and_named(tmp_path, heard):
    store = filled(tmp_path, 1, 2)
    (tmp_path / "model_0000002.pth").unlink()
    assert store.find_last() == tmp_path / "model_0000001.pth"
    assert "model_0000002.pth is missing" in heard.text


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("")])
def test_lost_tag_does_not_lose_the_checkpoint(tmp_path, damage, heard):
    store = filled(tmp_path, 1, 2)
    damage(tmp_path / "last_checkpoint")
    assert store.find_last() == tmp_path / "model_0000002.pth"
    assert "last_checkpoint is missing or empty" in heard.text


def test_no_whole_checkpoint_is_an_error_with_a_remedy(tmp_path):
    store = filled(tmp_path, 1)
    os.truncate(tmp_path / "model_0000001.pth", 9)
    with pytest.raises(ValueError, match=r"no whole checkpoint \(model_0000001.pth\); put one"):
        store.find_last()
    (tmp_path / "last_checkpoint").unlink()
    (tmp_path / "checkpoints.sha256").unlink()
    with pytest.raises(ValueError, match="or start again without --resume"):
        store.find_last()


def test_folder_without_checkpoints_has_no_last(tmp_path):
    assert CheckpointStore(tmp_path).find_last() is None


def test_new_training_does_not_go_on_with_an_earlier_one(tmp_path, heard):
    filled(tmp_path, 1, 2)
    CheckpointStore(tmp_path).start_anew()
    assert "holds checkpoints of an earlier training" in heard.text
    assert CheckpointStore(tmp_path).find_last() is None
    assert filled(tmp_path, 0).find_last() == tmp_path / "model_0000000.pth"


def test_tag_can_be_set_back_by_hand(tmp_path):
    store = filled(tmp_path, 1, 2, 3)
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    found = store.find_last()
    assert found == tmp_path / "model_0000002.pth"
    store.go_on_from(found)
    assert list(store.checksums()) == ["model_0000001.pth", "model_0000002.pth"]


def test_detectron2s_checkpoint_is_taken_without_a_checksum(tmp_path, heard):
    torch.save(CONTENT, tmp_path / "model_0000007.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000007.pth")
    assert CheckpointStore(tmp_path).find_last() == tmp_path / "model_0000007.pth"
    assert "has no checksum" in heard.text


def test_full_disk_leaves_everything_as_it_was(tmp_path):
    store = filled(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_up_to(3000), pytest.raises(OSError, match="File too large"):
        store.write("model_0000002", CONTENT)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    store.write("model_0000002", CONTENT)
    assert store.find_last() == tmp_path / "model_0000002.pth"


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_leftovers_are_deleted(tmp_path, heard):
    store = filled(tmp_path, 1)
    (tmp_path / ".model_0000002.pth.part").write_bytes(b"half")
    store.clean()
    assert ".model_0000002.pth.part" in heard.text
    assert names(tmp_path) == ["checkpoints.sha256", "last_checkpoint", "model_0000001.pth"]
