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


def times(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}


@pytest.fixture
def convert(official, tmp_path):
    def run(*more, root=tmp_path / "data"):
        main([*official.arguments, "--root", str(root), *map(str, more)])

    return run


@pytest.fixture(scope="module")
def undisturbed(official, tmp_path_factory):
    """The tree of one conversion."""
    root = tmp_path_factory.mktemp("undisturbed")
    main([*official.arguments, "--root", str(root)])
    return root / "nyuv2"


@pytest.fixture
def tree(undisturbed, tmp_path):
    return shutil.copytree(undisturbed, tmp_path / "data/nyuv2")


def test_killed_run_continues_to_the_same_bytes(official, convert, undisturbed, tmp_path):
    tree = tmp_path / "data/nyuv2"
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
    assert contents(tree) == contents(undisturbed)


def test_other_settings_need_overwrite(convert, tree, tmp_path):
    before = contents(tree)
    other = ("--depth", "raw", "--image-format", "jpg")
    with pytest.raises(SystemExit, match="with depth=filled, image_format=png: use --overwrite"):
        convert(*other)
    assert contents(tree) == before

    convert(*other, "--overwrite")
    convert(*other, root=tmp_path / "fresh")
    assert contents(tree) == contents(tmp_path / "fresh/nyuv2")
