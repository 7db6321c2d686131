"""Every kind of damage gives one line, exit code 1, and no JSON of half a conversion."""

import re
import shutil

import h5py
import numpy as np
import pytest
from official_nyuv2.mat import MAT_NAME
from prepare_nyuv2 import main
from quota import files_up_to


@pytest.fixture
def mat(official, tmp_path):
    """A copy of the .mat file to be damaged."""
    return shutil.copy(official.root / MAT_NAME, tmp_path / "damaged.mat")


@pytest.fixture
def refusal(official, tmp_path):
    """The line with which the command refuses; later options win."""

    def run(*more, root=tmp_path / "out"):
        with pytest.raises(SystemExit) as stop:
            main([*official.arguments, "--root", str(root), *map(str, more)])
        assert not list(root.rglob("nyuv2_*.json"))
        assert "\n" not in str(stop.value)
        return str(stop.value)

    return run


def set_values(name, frame, value, columns=slice(None), rows=slice(None)):
    def change(file):
        file[name][frame, columns, rows] = value

    return change


def replace_array(name, shape, dtype):
    def change(file):
        del file[name]
        if shape:
            file.create_dataset(name, shape, dtype)

    return change


def rename(cell, index, text):
    def change(file):
        path = file[file[cell][0, index]].name
        del file[path]
        file[path] = np.array([[ord(letter)] for letter in text], dtype=np.uint16)
        # The object has a new place in the file.
        file[cell][0, index] = file[path].ref

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_array("depths", None, None), "depths: "),
        (replace_array("labels", (9, 480, 640), "u2"), r"labels: is uint16 \(9, 480, 640\)"),
        (replace_array("scenes", (1, 9), "u2"), "scenes, a cell array of strings: "),
        (replace_array("images", (8, 3, 640, 480), "u1"), "variables differ in .*'images': 8"),
        (rename("sceneTypes", 3, "gym"), "sceneTypes, frame 4: 'gym' is none of the 27"),
        (rename("names", 4, "seat"), "names lacks chair"),
        (set_values("depths", 1, np.nan, 300, 200), "depths, frame 2: 1 values outside"),
        (set_values("depths", 0, 0), "depths, frame 1: all values are 0"),
        (set_values("labels", 1, 895), "labels, frame 2: highest is 895 where 1 to 894"),
        (set_values("labels", 0, 0, slice(1, 400)), "frame 1: .* an instance but no label"),
    ],
)
def test_wrong_variables(refusal, mat, change, message):
    with h5py.File(mat, "r+") as file:
        change(file)
    found = refusal("--mat", mat)
    assert str(mat) in found and found.endswith(f"download {MAT_NAME} again")
    assert re.search(message, found)


def test_truncated_file(refusal, mat):
    with open(mat, "r+b") as file:
        file.truncate(mat.stat().st_size // 2)
    assert "damaged.mat: not a MATLAB 7.3 (HDF5) file, or cut short" in refusal("--mat", mat)


def test_other_files(refusal, tmp_path):
    page, absent = tmp_path / "page.mat", tmp_path / "absent"
    page.write_text("<html>404 Not Found</html>")
    for options, message in (
        (["--mat", page], "page.mat: not a MATLAB 7.3 (HDF5) file"),
        (["--mat", absent], "absent: there is no such file; --mat names it"),
        (["--splits", page], "page.mat: not a MATLAB 5 file"),
        (["--splits", absent], "absent: there is no such file; --splits names it"),
        (["--val-scenes", page], "page.mat: '<html>404 Not Found</html>' is no video of NYUv2"),
        (["--normals", absent], "absent: there is no such folder; --normals"),
        (["--normals", tmp_path], "neither normals/ with masks/"),
        (["--val-images", "122"], "no choice of whole scenes has 122 of"),
    ):
        assert message in refusal(*options)
    assert not (tmp_path / "out").exists()


def test_splits_that_crash_scipy(refusal, official, tmp_path):
    content = (official.root / "splits.mat").read_bytes()
    # The type of the numbers: SciPy looks it up in a table without asking how long that is.
    place = content.index(b"testNdxs") + len(b"testNdxs")
    (tmp_path / "splits.mat").write_bytes(content[:place] + b"\xff\xff\0\0" + content[place + 4 :])
    found = refusal("--splits", tmp_path / "splits.mat")
    assert "splits.mat: not a MATLAB 5 file" in found and found.endswith("splits.mat again")


def test_normals_of_another_order_of_frames_are_refused(refusal, official, tmp_path):
    (tmp_path / "npy").mkdir()
    for index in range(9):
        shutil.copy(official.root / f"npy/{index:04d}.npy", tmp_path / f"npy/{(index + 4) % 9}.npy")
    assert "npy: its axes do not follow" in refusal("--normals", tmp_path / "npy")


def test_full_disk(refusal, tmp_path):
    """No file may be larger than 100 kB here, which the system reports as it does a full disk."""
    with files_up_to(100_000):
        assert "out/nyuv2: frame 1 cannot be written (File too large): make room" in refusal()
    assert [path for path in tmp_path.rglob("*.png") if path.stat().st_size >= 100_000] == []
