"""Every kind of damage gives one line, exit code 1, and no JSON of half a conversion."""

import re
import shutil

import h5py
import numpy as np
import pytest
from official_nyuv2.mat import MAT_NAME
from prepare_nyuv2 import main


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_array("depths", None, None), "depths: "),
        (replace_array("names", (1, 10**9), h5py.ref_dtype), "more than the file has"),
        (replace_array("labels", (9, 480, 640), "u2"), r"labels: is uint16 \(9, 480, 640\)"),
        (set_values("depths", 1, np.nan, 300, 200), "depths, frame 2: 1 values outside"),
        (set_values("labels", 1, 895), "labels, frame 2: highest is 895 where 1 to 894"),
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
        (["--val-scenes", page], "page.mat: '<html>404 Not Found</html>' is no video of NYUv2"),
        (["--normals", absent], "absent: there is no such folder; --normals"),
        (["--val-images", "122"], "no choice of whole scenes has 122 of"),
    ):
        assert message in refusal(*options)
    assert not (tmp_path / "out").exists()
