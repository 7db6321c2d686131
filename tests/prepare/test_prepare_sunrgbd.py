"""SUN RGB-D's official layout, converted: values by hand, bad input."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
from detectron2.data import DatasetCatalog
from prepare_sunrgbd import META, SPLIT, main

from rock_d2.data.datasets.nyuv2 import THING_CLASSES
from rock_d2.tasks import Depth

HEIGHT, WIDTH = 20, 30
FRAMES = (
    "SUNRGBD/kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize",
    "SUNRGBD/kv1/NYUdata/NYU0001",
    "SUNRGBD/xtion/sun3ddata/brown_bm_1/brown_bm_1/0000103-000003441422",
)
# Class and [x, y, width, height]: whole, on the left edge, cut off at the right, no class of ours,
# outside of the image, without a box, and not a number.
OBJECTS = (
    *(("night_stand", [3.0, 5.0, 10.0, 8.0]), ("tv", [1.0, 1.0, 5.5, 4.0])),
    *(("chair", [21.0, 11.0, 50.0, 5.0]), ("window", [2.0, 2.0, 5.0, 5.0])),
    *(("bed", [40.0, 2.0, 5.0, 5.0]), ("bed", []), ("bed", [np.nan, 2.0, 5.0, 5.0])),
)


def struct_array(entries: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array of 1 x N."""
    array = np.empty((1, len(entries)), dtype=[(key, object) for key in entries[0]])
    for place, entry in enumerate(entries):
        array[0, place] = tuple(entry.values())
    return array


def write_official(root: Path) -> None:
    objects = [
        {"objid": i, "gtBb2D": np.array([box]), "classname": kind, "has3dbox": 0}
        for i, (kind, box) in enumerate(OBJECTS)
    ]
    contents = (struct_array(objects), struct_array(objects[:1]), np.empty((0, 0)))
    meta = [
        {"sequenceName": name, "groundtruth2DBB": content, "sensorType": name.split("/")[1]}
        for name, content in zip(FRAMES, contents, strict=True)
    ]
    path = root / SPLIT
    path.parent.mkdir(parents=True)
    scipy.io.savemat(root / META, {"SUNRGBDMeta2DBB": struct_array(meta)})
    cells = [np.array([f"/n/fs/sun3d/data/{name}"], object) for name in FRAMES]
    # Some end in a slash.
    cells[2] = np.array([f"/n/fs/sun3d/data/{FRAMES[2]}/"], object)
    train = np.array([[cells[0][0], cells[1][0]]], object)
    scipy.io.savemat(path, {"alltrain": train, "alltest": cells[2][None]})
    rng = np.random.default_rng(0)
    for name, scene in zip(FRAMES, ("bedroom", "basement", "rest_space"), strict=True):
        folder = root / name
        for part in ("image", "depth", "depth_bfx"):
            (folder / part).mkdir(parents=True)
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "image/0000103.jpg"), image)
        # 2.5 m are 2500 = 2496 + 4 mm, turned left by three: 20000; 8191 mm is 65528, 9000 mm
        # 72000 - 65536 + 1.
        depth = np.full((HEIGHT, WIDTH), 20000, np.uint16)
        depth[0, :3] = 65528, 6465, 8
        cv2.imwrite(str(folder / "depth_bfx/0000103.png"), depth)
        depth[10:] = 0
        cv2.imwrite(str(folder / "depth/0000103.png"), depth)
        (folder / "intrinsics.txt").write_text("529.5 0 365\n0 529.5 265\n0 0 1 \n")
        (folder / "scene.txt").write_text(scene)


def convert(root: Path, source: Path, *more: str) -> None:
    main(["--source", str(source), "--root", str(root), "--jobs", "1", *more])


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    write_official(tmp_path / "official")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def test_values_by_hand(root, capsys):
    convert(root, root / "official")
    assert "sunrgbd_train: 2 images, 4 boxes" in capsys.readouterr().out
    first, second = DatasetCatalog.get("sunrgbd_train")
    (third,) = DatasetCatalog.get("sunrgbd_test")
    found = [(THING_CLASSES[a["category_id"]], a["bbox"]) for a in first["annotations"]]
    # MATLAB's first pixel is 1. Of the chair's 50 columns from 20 on, ten are in the image.
    assert found == [
        ("night stand", [2, 4, 10, 8]),
        ("television", [0, 0, 5.5, 4]),
        ("chair", [20, 10, 10, 5]),
    ]
    assert third["annotations"] == []
    # Basement is none of the 19 scene types.
    assert (first["scene_id"], second.get("scene_id"), third["scene_id"]) == (1, None, 17)
    assert first["intrinsics"] == [529.5, 529.5, 364, 264]
    depth = Depth().read(first)
    # 8.191 m and 9 m are beyond the toolbox's 8 m.
    assert depth[0, :3].tolist() == [0, 0, pytest.approx(0.001)] and (depth[1:] == 2.5).all()


def test_options_choose_depth_and_frames(root):
    convert(root, root / "official", "--depth", "raw", "--without-nyuv2")
    (record,) = DatasetCatalog.get("sunrgbd_train")
    assert (Depth().read(record)[10:] == 0).all() and (Depth().read(record)[1:10] == 2.5).all()
    info = json.loads((root / "sunrgbd/annotations/sunrgbd_train.json").read_text())["info"]
    assert (info["depth"], info["without_nyuv2"]) == ("raw", True)
    with pytest.raises(SystemExit, match="was made with depth=raw, without_nyuv2=True: use"):
        convert(root, root / "official")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (META, None, "is missing; --source must name the folder"),
        (META, b"<html>", "no MATLAB 5 file with SUNRGBDMeta2DBB"),
        (SPLIT, b"<html>", "no MATLAB 5 file with alltrain, alltest"),
        (f"{FRAMES[0]}/intrinsics.txt", b"529.5 0", "is no matrix of 3 x 3 numbers"),
        (f"{FRAMES[0]}/scene.txt", None, r"is missing; unpack SUNRGBD\.zip"),
        (f"{FRAMES[0]}/image/0000103.jpg", None, r"image: has 0 files \*\.jpg, not one"),
        (f"{FRAMES[0]}/image/0000103.jpg", b"", "is no image of the formats"),
    ],
)
def test_bad_input_is_one_line_with_its_file(root, name, content, message):
    path = root / "official" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SystemExit, match=message) as stop:
        convert(root, root / "official")
    assert str(path.parent) in str(stop.value) and "\n" not in str(stop.value)
    assert not list(root.rglob("sunrgbd_*.json"))


def test_depth_of_another_kind_is_refused(root):
    path = root / "official" / FRAMES[0] / "depth_bfx/0000103.png"
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(SystemExit, match=r"0000103\.png: is uint8 .* 16-bit depth of"):
        convert(root, root / "official")
