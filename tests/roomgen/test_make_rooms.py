"""The command: its files, and that the number of processes does not matter."""

import json
from pathlib import Path

import cv2
import make_rooms
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from roomgen.render import render_frame, room_layout

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


@pytest.mark.parametrize("style", ["plain", "other"])
def test_another_style_is_a_data_set_of_its_own(style, root, tmp_path):
    run(tmp_path, "--jobs", "1", "--style", style)
    name = f"rooms_{style}"
    assert {p.name for p in tmp_path.iterdir()} == {name}
    for split in ("train", "val"):
        file = tmp_path / name / "annotations" / f"{name}_{split}.json"
        metadata = MetadataCatalog.get(f"{name}_{split}")
        assert metadata.json_file.endswith(str(file.relative_to(tmp_path)))
        document = json.loads(file.read_text())
        assert [c["name"] for c in document["categories"]] == metadata.thing_classes
        assert len(metadata.thing_classes) == (19 if style == "plain" else 23)
        has_scenes = ["scene_id" in image for image in document["images"]]
        assert set(has_scenes) == {style == "plain"} == {"scene_classes" in metadata.as_dict()}
    folders = tmp_path / name, root / "rooms"
    other, typical = ((folder / "images/000000.png").read_bytes() for folder in folders)
    assert other != typical


@pytest.mark.parametrize(
    ("style", "brightness", "depth"), [("typical", 134.603, 3.66498), ("plain", 143.670, 3.99205)]
)
def test_images_of_a_seed_stay_what_they_were(style, brightness, depth):
    frame = render_frame(5, 4, 60, 80, style)
    assert frame.image.mean() == pytest.approx(brightness, abs=0.05)
    assert frame.depth.mean() == pytest.approx(depth, abs=1e-4)


def test_the_other_style_has_rooms_and_cameras_of_its_own():
    focal = {render_frame(0, 3 * room, 32, 40, "other").intrinsics[0, 0] for room in range(4)}
    assert len(focal) == 4
    # No room of a test set comes with other colours into the training.
    rooms = [[room_layout(0, room, name) for room in range(20)] for name in ("typical", "other")]
    widths = [{round(room.width / room.style.room, 6) for room in found} for found in rooms]
    assert not widths[0] & widths[1]
    with pytest.raises(SystemExit):
        make_rooms.main(["--style", "other", "--kinect-holes"])
