"""DATALOADER.RESIDENT: a set that does not fit into memory is refused before it is read."""

import os
from pathlib import Path

import pytest
import torch

from rock_d2 import build_train_loader
from rock_d2.data.mapper import RockDatasetMapper
from rock_d2.data.memory import (
    check_that_it_fits,
    free_bytes,
    left_to_container,
    resident_bytes,
)
from rock_d2.tasks import Depth, Normals, Scene

TASKS = (Scene(), Depth(), Normals())
CPU = torch.device("cpu")
RECORD = {"file_name": "image.png", "height": 120, "width": 160, "scene_id": 3}
RECORDS = [
    RECORD,
    RECORD | {"depth_file_name": "depth.png"},
    RECORD | {"depth_file_name": "depth.png", "normals_file_name": "normals.png"},
]


def test_an_image_takes_three_bytes_a_pixel_and_its_labels_what_their_files_hold():
    # Depth takes two bytes, normals three.
    assert [resident_bytes([r], TASKS) / (120 * 160) for r in RECORDS] == [3, 5, 8]
    assert resident_bytes(RECORDS, [Depth()]) == 120 * 160 * (3 + 5 + 5)
    assert resident_bytes([{"file_name": "of unknown size.png"}], TASKS) == 0


def test_the_last_byte_counts():
    message = r"DATALOADER.RESIDENT: 3 images .* need 307,200 bytes, but cpu has 307,199 free"
    with pytest.raises(ValueError, match=message):
        check_that_it_fits(RECORDS, TASKS, free=307_199)
    check_that_it_fits(RECORDS, TASKS, free=307_200)


def test_the_host_tells_what_it_has_left():
    free = free_bytes(CPU)
    assert (free is None) != Path("/proc/meminfo").exists()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Kilobytes taken for bytes would be less than a thousandth.
    assert free is None or total / 1000 < free <= total


def test_a_container_has_what_its_limit_leaves_beside_cached_files(tmp_path):
    assert left_to_container(tmp_path) == []
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\nactive_file 50\n")
    assert left_to_container(tmp_path) == [1000 - 700 + 200 + 50]
    (tmp_path / "memory.max").write_text("max\n")
    assert left_to_container(tmp_path) == []


@pytest.mark.parametrize("device", [None, CPU])
def test_nothing_is_read_of_a_set_that_does_not_fit(monkeypatch, device):
    monkeypatch.setattr("rock_d2.data.memory.free_bytes", lambda device: 1000)
    monkeypatch.setattr(RockDatasetMapper, "decode", lambda *_: pytest.fail("reads"))
    mapper = RockDatasetMapper(is_train=True, tasks=TASKS, augmentations=[], image_format="BGR")
    options = {"mapper": mapper, "total_batch_size": 1, "seed": 0, "resident": True}
    with pytest.raises(ValueError, match=r"need 307,200 bytes, but cpu has 1,000 free"):
        build_train_loader(RECORDS, **options, device=device)
