"""The command: its files, and that the number of processes does not matter."""

import json
from pathlib import Path

import cv2
import make_rooms
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from roomgen.render import render_frame

from rock_d2.data.datasets.nyuv2 import SCENE_CLASSES, STUFF_CLASSES, THING_CLASSES
from rock_d2.tasks.thinning import outlines

# What the first validation image shows that is no class of its own.
CLASS_OF = {
    **dict.fromkeys(("ball", "stuffed animal", "toy car"), "otherprop"),
    "tv stand": "otherfurniture",
}

ARGUMENTS = ("--size", "60x80", "--train", "4", "--val", "2", "--seed", "7")


def run(root: Path, *arguments: str) -> None:
    make_rooms.main(["--root", str(root), *ARGUMENTS, *arguments])


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("one")
    run(root, "--jobs", "1")
    return root


def read(root: Path, name: str) -> dict:
    return json.loads((root / "rooms" / "annotations" / f"{name}.json").read_text())


def test_two_processes_write_the_same_bytes(root, tmp_path):
    run(tmp_path, "--jobs", "2")
    first, second = contents(root), contents(tmp_path)
    assert len(first) == 6 * 5 + 2
    assert first == second


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
            # Mask R-CNN trains on it.
            assert annotation["segmentation"]["size"] == [60, 80]


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
    classes = cv2.imread(str(folder / image["sem_seg_file_name"]), cv2.IMREAD_UNCHANGED)
    for number, thing in enumerate(frame.objects, start=1):
        expected = STUFF_CLASSES.index(CLASS_OF.get(thing.name, thing.name))
        assert (classes[frame.instances == number] == expected).all()
    edges = cv2.imread(str(folder / image["edges_file_name"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(edges, outlines(frame.instances))
    fx, fy, cx, cy = image["intrinsics"]
    np.testing.assert_allclose([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], frame.intrinsics)


def test_plain_rooms_are_a_data_set_of_their_own(root, tmp_path):
    run(tmp_path, "--jobs", "1", "--style", "plain")
    assert {p.name for p in tmp_path.iterdir()} == {"rooms_plain"}
    annotations = tmp_path / "rooms_plain" / "annotations"
    assert {p.name for p in annotations.iterdir()} == {
        f"rooms_plain_{split}.json" for split in ("train", "val")
    }
    for split in ("train", "val"):
        metadata = MetadataCatalog.get(f"rooms_plain_{split}")
        assert metadata.json_file.endswith(f"rooms_plain/annotations/rooms_plain_{split}.json")
    plain, typical = (
        base.joinpath("images/000000.png").read_bytes()
        for base in (tmp_path / "rooms_plain", root / "rooms")
    )
    assert plain != typical
