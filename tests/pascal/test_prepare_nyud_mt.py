"""The converter of the archive NYUD_MT."""

import shutil

import numpy as np
import official_pascal as official
import pytest
from detectron2.data import DatasetCatalog
from prepare_nyud_mt import main

from rock_d2.tasks import TASK_REGISTRY

STEMS = {"train": ["0003", "0004"], "val": ["0001"]}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("input") / "NYUD_MT"
    official.write_nyud(root, STEMS)
    return root


def test_labels_of_the_archive(archive, tmp_path, monkeypatch):
    main(["--archive", str(archive), "--root", str(tmp_path), "--jobs", "1"])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert [r["file_name"][-8:-4] for r in DatasetCatalog.get("nyud_mt_train")] == STEMS["train"]
    (record,) = DatasetCatalog.get("nyud_mt_val")
    names = ("SemSeg", "Depth", "Normals", "Edges")
    classes, depth, normals, edges = (TASK_REGISTRY.get(name)().read(record) for name in names)
    # Class 0 of 0 to 40 is unknown, 40 is the last of ours.
    assert classes[0, [0, 16, 639]].tolist() == [255, 0, 38]
    assert not depth[:, :320].any() and (depth[:, 320:] == 2).all()
    assert not normals[:, :320].any()
    assert normals[5, 320] == pytest.approx([0, 0.6, -0.8], abs=0.005)
    assert np.flatnonzero(edges.all(axis=0)).tolist() == [100, 300] and edges.sum() == 960


def array(values):
    return lambda path: np.save(path, values)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("gt_sets/val.txt", lambda path: path.write_text("9999"), "lists 9999, but .* is missing"),
        ("gt_sets/val.txt", lambda path: path.write_text("0003"), "0003 is in both lists"),
        ("depth/0003.npy", lambda path: path.unlink(), "0003.npy: is missing: use the archive of"),
        ("depth/0003.npy", lambda path: path.write_bytes(b"<html>"), "is no array of numbers"),
        ("depth/0003.npy", array(np.full((480, 640), np.nan)), "holds values outside 0 to 65.535"),
        ("depth/0003.npy", array(np.ones((425, 560))), r"is \(425, 560\), not \(480, 640\)"),
        (
            "segmentation/0003.png",
            lambda path: official.write_png(path, np.full((480, 640), 41, np.uint8)),
            "holds class 41 of 0 to 40",
        ),
        (
            "images/0003.jpg",
            lambda path: official.write_image(path, (425, 560), seed=0),
            r"0003.jpg: is \(425, 560\), not \(480, 640\): use the archive of MTI-Net's authors",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(archive, tmp_path, file, change, message):
    broken = shutil.copytree(archive, tmp_path / "NYUD_MT")
    change(broken / file)
    with pytest.raises(SystemExit, match=message) as end:
        main(["--archive", str(broken), "--root", str(tmp_path), "--jobs", "1"])
    assert "\n" not in str(end.value) and not (tmp_path / "nyud_mt/annotations").exists()
