"""A run that is killed, repeated or given other settings never mixes two conversions."""

import json
import os
import signal
import subprocess
import sys
import time

import prepare_nyuv2
import pytest
from prepare_nyuv2 import main


def contents(root):
    """Every file by its name; the times of input files are in settings.json, of none in others."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def times(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}


@pytest.fixture
def convert(official, tmp_path):
    def run(*more, root=tmp_path / "data"):
        return main([*official.arguments, "--root", str(root), *map(str, more)])

    return run


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "data/nyuv2"


def test_killed_run_goes_on_to_the_same_bytes(official, convert, tree, tmp_path):
    command = [prepare_nyuv2.__file__, *official.arguments, "--root", tree.parent]
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    records = tree / ".conversion/frames"
    while len(list(records.glob("*.json"))) < 1:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    wait_for_group(process.pid)
    assert 1 <= len(list(records.glob("*.json"))) < 9
    assert not (tree / "annotations").exists()
    # The kill may or may not have come while a file was written.
    (tree / "depth/.0009.png.1.tmp").write_bytes(b"half")
    before = times(tree)
    done = {path: at for path, at in before.items() if (records / f"{path.stem}.json").exists()}

    assert convert() == 0
    assert {path: times(tree)[path] for path in done} == done
    assert convert(root=tmp_path / "undisturbed") == 0
    assert contents(tree) == contents(tmp_path / "undisturbed/nyuv2")


def wait_for_group(group):
    """Workers end by themselves when their parent is killed."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a worker outlived its parent")


def test_second_run_changes_nothing_and_mends_what_is_missing(convert, tree):
    assert convert() == 0
    before, at = contents(tree), times(tree)
    assert convert("--jobs", "2") == 0
    assert contents(tree) == before and times(tree) == at
    (tree / "depth/0004.png").unlink()
    (tree / "annotations/nyuv2_test.json").unlink()
    assert convert() == 0
    assert contents(tree) == before
    changed = {path.name for path, time in times(tree).items() if time != at[path]}
    assert changed == {"0004.png"}


def test_other_splits_keep_the_frames(convert, tree, tmp_path):
    assert convert() == 0
    at = times(tree)
    found = json.loads((tree / "annotations/nyuv2_train673.json").read_text())["images"]
    listed = tmp_path / "val.txt"
    listed.write_text(found[0]["sequence"])
    of_video = [image for image in found if image["sequence"] == found[0]["sequence"]]
    options = ["--val-scenes", listed, "--val-images", len(of_video)]
    assert convert(*options) == 1
    assert convert(*options, "--overwrite") == 0
    val = json.loads((tree / "annotations/nyuv2_val122.json").read_text())["images"]
    assert val == of_video
    assert times(tree) == at
    # Another convention is another folder and needs no --overwrite.
    assert convert("--boxes", "port") == 0
    assert times(tree) == at


def test_other_settings_need_overwrite(convert, tree, tmp_path, capsys):
    assert convert() == 0
    before = contents(tree)
    assert convert("--depth", "raw", "--image-format", "jpg") == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "was made with depth=filled, image_format=png: use --overwrite" in message
    assert contents(tree) == before

    assert convert("--depth", "raw", "--image-format", "jpg", "--overwrite") == 0
    assert convert("--depth", "raw", "--image-format", "jpg", root=tmp_path / "fresh") == 0
    assert contents(tree) == contents(tmp_path / "fresh/nyuv2")
    assert {path.suffix for path in (tree / "images").iterdir()} == {".jpg"}


def test_json_of_unknown_origin_is_not_replaced(convert, tree, capsys):
    (tree / "annotations").mkdir(parents=True)
    (tree / "annotations/nyuv2_test.json").write_text("{}")
    assert convert() == 1
    assert "nyuv2_test.json was made with settings unknown" in capsys.readouterr().err
    assert (tree / "annotations/nyuv2_test.json").read_text() == "{}"
