"""A run that is killed, repeated or given other settings never mixes two conversions."""

import json
import subprocess
import sys
import time

import prepare_nyuv2
import pytest
from prepare_nyuv2 import main


def contents(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def times(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}


@pytest.fixture
def convert(official, tmp_path):
    def run(*more, root=tmp_path / "data"):
        main([*official.arguments, "--root", str(root), *map(str, more)])

    return run


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "data/nyuv2"


def test_killed_run_continues_to_the_same_bytes(official, convert, tree, tmp_path):
    command = [prepare_nyuv2.__file__, *official.arguments, "--root", tree.parent, "--jobs", 2]
    process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.DEVNULL)
    records = tree / ".conversion/frames"
    while not list(records.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tree / "annotations").exists()
    convert()
    convert(root=tmp_path / "undisturbed")
    assert contents(tree) == contents(tmp_path / "undisturbed/nyuv2")


def test_second_run_writes_only_files_that_are_missing(convert, tree):
    convert()
    before, at = contents(tree), times(tree)
    (tree / "depth/0004.png").unlink()
    (tree / "annotations/nyuv2_test.json").unlink()
    convert()
    assert contents(tree) == before
    changed = {path.name for path, time in times(tree).items() if time != at[path]}
    assert changed == {"0004.png"}


def test_other_splits_keep_the_frames(convert, tree, tmp_path):
    convert()
    at = times(tree)
    found = json.loads((tree / "annotations/nyuv2_train673.json").read_text())["images"]
    listed = tmp_path / "val.txt"
    listed.write_text(found[0]["sequence"])
    of_video = [image for image in found if image["sequence"] == found[0]["sequence"]]
    options = ["--val-scenes", listed, "--val-images", len(of_video)]
    with pytest.raises(SystemExit):
        convert(*options)
    convert(*options, "--overwrite")
    val = json.loads((tree / "annotations/nyuv2_val122.json").read_text())["images"]
    assert val == of_video
    assert times(tree) == at


def test_other_settings_need_overwrite(convert, tree, tmp_path, capsys):
    convert()
    before = contents(tree)
    other = ("--depth", "raw", "--image-format", "jpg")
    with pytest.raises(SystemExit):
        convert(*other)
    assert "was made with depth=filled, image_format=png: use --overw" in capsys.readouterr().err
    assert contents(tree) == before

    convert(*other, "--overwrite")
    convert(*other, root=tmp_path / "fresh")
    assert contents(tree) == contents(tmp_path / "fresh/nyuv2")
