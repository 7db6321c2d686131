"""The command: what it writes, and that the number of processes does not matter."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import make_rooms
import numpy as np
import prepare_nyuv2
import pytest
from roomgen.command import Recipe, make_mat
from roomgen.frame import Frame
from roomgen.render import render_frame
from synthetic_scene import synthetic_frame

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, THING_CLASSES

_ARGUMENTS = ("--size", "60x80", "--train", "4", "--val", "2", "--seed", "7")


def run(root: Path, *arguments: str) -> int:
    return make_rooms.main(["--root", str(root), *_ARGUMENTS, *arguments])


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("one")
    assert run(root, "--jobs", "1") == 0
    return root


def read(root: Path, name: str) -> dict:
    return json.loads((root / "rooms" / "annotations" / f"{name}.json").read_text())


def test_two_processes_write_the_same_bytes(root, tmp_path):
    assert run(tmp_path, "--jobs", "2") == 0
    first, second = contents(root), contents(tmp_path)
    assert len(first) == 6 * 3 + 2
    assert first == second


def test_second_run_writes_nothing(root, capsys):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert run(root) == 0
    assert "is complete" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in root.rglob("*")}


def test_other_rooms_are_not_replaced_unasked(root, capsys):
    before = contents(root)
    assert run(root, "--seed", "8") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "seed=7" in message and "--overwrite" in message
    assert contents(root) == before


def test_a_json_without_the_settings_counts_as_other_rooms(root, tmp_path, capsys):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "rooms" / "annotations" / "rooms_val.json"
    file.write_text("{}")
    assert run(tmp_path) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(file) in message and "--overwrite" in message


def test_nyuv2_files_of_other_rooms_are_replaced_when_asked(tmp_path, monkeypatch):
    rooms = ["kitchen_0004"] * 3 + ["bedroom_0010"] * 3

    def render(seed: int, index: int, height: int, width: int) -> Frame:
        return synthetic_frame(rooms[index], rooms[index][:-5], shift=5 * index + seed)

    monkeypatch.setattr("roomgen.command.render_frame", render)
    first, second, third = (Recipe(seed, 60, 80, 4, 2, False) for seed in range(3))
    make_mat(first, tmp_path, jobs=1, overwrite=False)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="tells of other rooms"):
        make_mat(second, tmp_path, jobs=1, overwrite=False)
    make_mat(second, tmp_path, jobs=1, overwrite=True)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert json.loads(after["nyuv2_mat.json"]) == second.info()
    assert after["nyu_depth_v2_labeled.mat"] != before["nyu_depth_v2_labeled.mat"]
    # What is cut short does not count as complete.
    rooms.clear()
    with pytest.raises(IndexError):
        make_mat(third, tmp_path, jobs=1, overwrite=True)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("command", [make_rooms, prepare_nyuv2])
def test_missing_h5py_gives_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    files = ["--mat", "a.mat", "--splits", "b.mat"]
    words = ["--nyuv2-mat"] if command is make_rooms else files
    with suppress(SystemExit):
        assert command.main(["--root", str(tmp_path), *words]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and 'needs h5py: pip install -e ".[nyuv2]"' in message
    assert contents(tmp_path) == {}


def test_records(root):
    train, val = read(root, "rooms_train"), read(root, "rooms_val")
    assert [c["name"] for c in train["categories"]] == list(THING_CLASSES)
    assert [image["id"] for image in train["images"]] == [0, 1, 2, 3]
    # 4 frames reach into the second room of 3 frames, so validation starts with the third.
    assert [image["id"] for image in val["images"]] == [6, 7]
    rooms = [{image["sequence"] for image in part["images"]} for part in (train, val)]
    assert not rooms[0] & rooms[1]
    for part in (train, val):
        for image in part["images"]:
            assert image["sequence"].startswith(SCENE_CLASSES[image["scene_id"]])
        ids = [annotation["id"] for annotation in part["annotations"]]
        assert ids == list(range(1, len(ids) + 1)) and ids
        for annotation in part["annotations"]:
            assert 0 < annotation["visible_fraction"] <= 1


def test_files_hold_the_frame(root):
    image = read(root, "rooms_val")["images"][0]
    frame = render_frame(7, image["id"], 60, 80)
    folder = root / "rooms"
    picture = cv2.imread(str(folder / image["file_name"]))[..., ::-1]
    np.testing.assert_array_equal(picture, frame.image)
    depth = cv2.imread(str(folder / image["depth_file_name"]), cv2.IMREAD_UNCHANGED)
    assert np.abs(depth / 1000 - frame.depth).max() <= 0.00051
    normals = cv2.imread(str(folder / image["normals_file_name"]))[..., ::-1]
    assert np.abs((normals / 127.0 - 1) - frame.normals).max() < 0.0041
    fx, fy, cx, cy = image["intrinsics"]
    np.testing.assert_allclose([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], frame.intrinsics)


def test_kinect_holes_are_zero_and_the_rest_exact(root, tmp_path):
    assert run(tmp_path, "--jobs", "1", "--kinect-holes") == 0
    holes = 0
    for path in sorted((root / "rooms" / "depth").iterdir()):
        exact = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        sensed = cv2.imread(str(tmp_path / "rooms" / "depth" / path.name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(sensed[sensed > 0], exact[sensed > 0])
        holes += (sensed == 0).sum()
    assert holes > 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--size", "240*320"), "--size"),
        (("--size", "8x8"), "--size"),
        (("--train", "-1"), "--train"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_bad_arguments_give_one_line(tmp_path, capsys, arguments, field):
    with pytest.raises(SystemExit) as stop:
        make_rooms.main(["--root", str(tmp_path), *arguments])
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.count("\n") == 1 and field in message
