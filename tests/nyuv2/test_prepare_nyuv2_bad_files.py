"""Every kind of damage gives one line, exit code 1, and no JSON that tells of half a conversion."""

import re
import shutil

import h5py
import numpy as np
import pytest
from prepare_nyuv2 import main
from quota import files_up_to


@pytest.fixture
def mat(official, tmp_path):
    """A copy of the .mat file to be damaged."""
    return shutil.copy(official.root / "nyu_depth_v2_labeled.mat", tmp_path / "damaged.mat")


def refusal(capsys, official, root, *more):
    """What the command says when it refuses; later options win."""
    assert main([*official.arguments, "--root", str(root), *map(str, more)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("prepare_nyuv2.py: ")
    assert not list(root.rglob("nyuv2_*.json"))
    return message


def change_pixel(name, frame, value, row=200, column=300):
    def change(file):
        file[name][frame, column, row] = value

    return change


def replace_array(name, shape, dtype):
    def change(file):
        del file[name]
        file.create_dataset(name, shape, dtype)

    return change


def delete(name):
    def change(file):
        del file[name]

    return change


def rename(cell, frame, text):
    def change(file):
        reference = file[cell][0, frame]
        path = file[reference].name
        del file[path]
        file[path] = np.array([[ord(letter)] for letter in text], dtype=np.uint16)
        # The object has a new place in the file.
        file[cell][0, frame] = file[path].ref

    return change


def orphan(file):
    file["labels"][1, :10, :10] = 0
    file["instances"][1, :10, :10] = 7


def empty_depth(file):
    file["depths"][0] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("depths"), "variable depths is missing"),
        (delete("sceneTypes"), "variable sceneTypes is missing"),
        (replace_array("labels", (9, 480, 640), "u2"), r"labels is uint16 \(9, 480, 640\) where"),
        (replace_array("depths", (9, 640, 480), "f8"), "depths is float64"),
        (replace_array("scenes", (1, 9), "u2"), "scenes must be a cell array of 9 strings"),
        (
            replace_array("images", (8, 3, 640, 480), "u1"),
            "variables differ in frames.*'images': 8",
        ),
        (rename("sceneTypes", 3, "gym"), "sceneTypes, frame 4: 'gym' is none of the 27"),
        (rename("names", 4, "seat"), "names lacks chair"),
        (change_pixel("depths", 1, np.nan), "depths, frame 2: 1 values outside"),
        (change_pixel("rawDepths", 1, -1), "rawDepths, frame 2: 1 values outside"),
        (change_pixel("labels", 1, 895), "labels, frame 2: highest is 895 where 1 to 894"),
        (empty_depth, "depths, frame 1: all values are 0"),
        (orphan, "labels and instances, frame 2: 100 pixels have an instance but no label"),
    ],
)
def test_wrong_variables(capsys, official, mat, tmp_path, change, message):
    with h5py.File(mat, "r+") as file:
        change(file)
    found = refusal(capsys, official, tmp_path / "out", "--mat", mat)
    assert str(mat) in found and found.endswith("download nyu_depth_v2_labeled.mat again")
    assert re.search(message, found)


def test_truncated_file(capsys, official, mat, tmp_path):
    with open(mat, "r+b") as file:
        file.truncate(mat.stat().st_size // 2)
    found = refusal(capsys, official, tmp_path / "out", "--mat", mat)
    assert "damaged.mat: cannot be opened" in found and "probably cut short" in found


def test_damaged_pixels(capsys, official, mat, tmp_path):
    with h5py.File(mat, "r") as file:
        chunk = file["images"].id.get_chunk_info(1)
    with open(mat, "r+b") as file:
        file.seek(512 + chunk.byte_offset)
        file.write(b"\xff" * 1000)
    assert "images, frame 2 cannot be read" in refusal(
        capsys, official, tmp_path / "out", "--mat", mat
    )


def test_other_files(capsys, official, tmp_path):
    (tmp_path / "page.mat").write_text("<html>404 Not Found</html>")
    out = tmp_path / "out"
    for options, message in (
        (["--mat", tmp_path / "page.mat"], "page.mat: not an HDF5 (MATLAB 7.3) file"),
        (["--mat", tmp_path / "absent.mat"], "absent.mat: there is no such file; --mat names it"),
        (["--splits", tmp_path / "page.mat"], "page.mat: not a MATLAB 5 file"),
        (["--val-scenes", tmp_path / "page.mat"], "page.mat: lines that are no video of NYUv2: 1"),
        (["--normals", tmp_path / "absent"], "absent: there is no such folder; --normals"),
        (["--normals", tmp_path], "neither normals/ with masks/"),
        (["--val-images", "122"], "no choice of whole scenes has 122 of"),
    ):
        assert message in refusal(capsys, official, out, *options)
    assert not out.exists()


def test_splits_that_crash_scipy(capsys, official, tmp_path):
    content = (official.root / "splits.mat").read_bytes()
    # The type of the numbers: SciPy looks it up in a table without asking how long that is.
    place = content.index(b"testNdxs") + len(b"testNdxs")
    (tmp_path / "splits.mat").write_bytes(content[:place] + b"\xff\xff\0\0" + content[place + 4 :])
    found = refusal(capsys, official, tmp_path, "--splits", tmp_path / "splits.mat")
    assert "splits.mat: not a MATLAB 5 file" in found and found.endswith("splits.mat again")


def test_normals_of_another_order_of_frames_are_refused(capsys, official, tmp_path):
    for index in range(9):
        source = official.root / f"npy/{index:04d}.npy"
        (tmp_path / "npy").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / f"npy/{(index + 4) % 9:04d}.npy")
    assert main([*official.arguments, "--root", str(tmp_path), "--normals", str(tmp_path / "npy")])
    lines = capsys.readouterr().err.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("prepare_nyuv2.py"))
    assert "axes cannot be told from the depth" in lines[start]
    assert "median" in lines[start + 1]


def test_a_folder_that_is_a_file(capsys, official, tmp_path):
    (tmp_path / "nyuv2").mkdir()
    (tmp_path / "nyuv2/depth").write_text("")
    found = refusal(capsys, official, tmp_path)
    assert f"{tmp_path}/nyuv2/depth: frame 1 cannot be written (File exists)" in found


def test_full_disk(capsys, official, tmp_path):
    """No file may be larger than 100 kB here, which the system says as it says a full disk."""
    with files_up_to(100_000):
        found = refusal(capsys, official, tmp_path)
    assert "frame 1 cannot be written (File too large): make room" in found
    assert [path for path in tmp_path.rglob("*.png") if path.stat().st_size >= 100_000] == []
    assert not list(tmp_path.rglob("*.tmp"))
