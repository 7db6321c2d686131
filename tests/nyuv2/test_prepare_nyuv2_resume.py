"""A run that is killed, repeated or given other settings never mixes two conversions."""

import shutil
import subprocess
import sys
import time

import prepare_nyuv2
import pytest
from prepare_nyuv2 import main


def contents(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture
def convert(official, tmp_path):
    root = str(tmp_path / "data")
    return lambda *more: main([*official.arguments, "--root", root, *more])


# One that was not disturbed.
each_from_depth = pytest.mark.parametrize("conversion", ["from_depth"], indirect=True)


@each_from_depth
def test_killed_run_continues_to_the_same_bytes(official, convert, conversion, tmp_path):
    tree, options = tmp_path / "data/nyuv2", [*official.arguments, *conversion.options]
    command = [prepare_nyuv2.__file__, *options, "--root", tree.parent, "--jobs", 2]
    process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.DEVNULL)
    records = tree / ".conversion/frames"
    while not list(records.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tree / "annotations").exists()
    convert(*conversion.options)
    assert contents(tree) == contents(conversion.tree)


@each_from_depth
def test_other_settings_need_overwrite(convert, conversion, tmp_path):
    tree = shutil.copytree(conversion.tree, tmp_path / "data/nyuv2")
    before = contents(tree)
    other = (*conversion.options, "--depth", "raw", "--image-format", "jpg")
    with pytest.raises(SystemExit, match="with depth=filled, image_format=png: use --overwrite"):
        convert(*other)
    assert contents(tree) == before
    convert(*other, "--overwrite")
    after = contents(tree)
    assert {name.replace(".jpg", ".png") for name in after} == before.keys()
    assert after["depth/0001.png"] != before["depth/0001.png"]
