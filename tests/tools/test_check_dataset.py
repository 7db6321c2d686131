"""The report on a data set: every kind of damage is found, all of it in one run."""

import json
import shutil

import check_dataset as tool
import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import register_multitask_coco
from rock_d2.data.datasets.checks import check_dataset
from rock_d2.engine.command_line import parse
from rock_d2.tasks import Depth, Normals, Scene


@pytest.fixture
def rooms(rooms_root, tmp_path, monkeypatch):
    """The folder of a copy that a test may damage."""
    shutil.copytree(rooms_root / "rooms", tmp_path / "rooms")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path / "rooms"


@pytest.fixture
def broken(rooms):
    """The JSON document and the folder of a registered data set, and a checker."""
    json_file = rooms / "annotations/rooms_val.json"
    document = json.loads(json_file.read_text())

    def problems():
        json_file.write_text(json.dumps(document))
        return check_dataset("broken", [Scene(), Depth(), Normals()], num_processes=1).problems

    register_multitask_coco("broken", str(json_file), str(rooms), scene_classes=["any"] * 27)
    yield document, rooms, problems
    DatasetCatalog.remove("broken")
    MetadataCatalog.remove("broken")


def report_on(capsys, *names: str) -> tuple[int, str]:
    """Return the exit code of the tool and what it prints."""
    code = tool.main(parse(tool.make_parser(), [*names, "--jobs", "1"]))
    return code, capsys.readouterr().out


def test_rooms_are_in_order(rooms, capsys):
    code, shown = report_on(capsys, "rooms_train", "rooms_val")
    assert code == 0, shown
    assert "rooms_train: 15 images" in shown and "rooms_val: 9 images" in shown
    assert shown.count(": 0 problem(s)") == 2
    assert shown.count("100.0 %") == 6


def test_every_problem_is_found_at_once(broken):
    document, root, problems = broken
    images, annotations = document["images"], document["annotations"]
    assert problems() == []

    (root / images[0]["file_name"]).unlink()
    cv2.imwrite(str(root / images[1]["file_name"]), np.zeros((50, 60, 3), np.uint8))
    cv2.imwrite(str(root / images[1]["depth_file_name"]), np.zeros((50, 60), np.uint16))
    cv2.imwrite(str(root / images[2]["depth_file_name"]), np.zeros((120, 160), np.uint8))
    (root / images[2]["file_name"]).write_bytes(b"no image")
    wrong = cv2.imread(str(root / images[3]["normals_file_name"]))
    wrong[:2, 0] = (254, 254, 254)
    cv2.imwrite(str(root / images[3]["normals_file_name"]), wrong)
    images[4]["scene_id"] = 27
    images[5]["normals_file_name"] = 5
    images[6]["id"] = images[7]["id"]
    del images[8]["width"]
    changes = (
        {"bbox": [150, 0, 20, 20]},
        {"bbox": [10, 10, 0, 5]},
        {"category_id": 20},
        {"bbox": [1, 2, 3, None]},
        {"image_id": 10_000},
    )
    for annotation, change in zip(annotations, changes, strict=False):
        annotation |= {"image_id": images[0]["id"]} | change
    names = [image["file_name"] for image in images]
    ids = [annotation["id"] for annotation in annotations]

    found = "\n".join(problems())
    for expected in (
        f"`file_name` names {root / names[0]}, which is not there",
        f"{names[1]}: is 50 x 60, `height` and `width` say 120 x 160",
        f"{images[1]['depth_file_name']}: is 50 x 60, its image 120 x 160",
        f"{images[2]['depth_file_name']}: named by `depth_file_name`, holds 1 channel(s) of uint8",
        f"{names[2]}: is no image of the formats",
        f"{images[3]['normals_file_name']}: 2 of 19200 known pixels are no unit vectors",
        f"{names[4]}: `scene_id` is 27; it must be an int from 0 to 26",
        f"{names[5]} (image id {images[5]['id']}): `normals_file_name` is 5",
        f"`images`: id {images[7]['id']} is given 2 times",
        "`images` number 8: `width` is None; it must be an int above 0",
        f"annotation id {ids[0]} of {names[0]}: `bbox` [150, 0, 20, 20] leaves",
        f"annotation id {ids[1]} of {names[0]}: `bbox` [10, 10, 0, 5] is empty",
        f"annotation id {ids[2]}: `category_id` 20 is no category",
        "`annotations` number 3: `bbox` is [1, 2, 3, None]; it must be [x, y, width, height]",
        f"annotation id {ids[4]}: `image_id` 10000 is no image",
    ):
        assert expected in found


def test_training_refuses_what_the_check_would_find(broken):
    document, _, problems = broken
    document["annotations"][0]["category_id"] = 77
    problems()
    with pytest.raises(ValueError, match=r"rooms_val\.json.*`category_id` 77.*check_dataset"):
        DatasetCatalog.get("broken")


def test_splits_that_share_a_sequence_or_an_image_are_found(rooms, capsys):
    path = rooms / "annotations/rooms_val.json"
    train = json.loads((rooms / "annotations/rooms_train.json").read_text())["images"]
    document = json.loads(path.read_text())
    shared = document["images"][0]["sequence"] = train[0]["sequence"]
    document["images"][1]["file_name"] = train[2]["file_name"]
    path.write_text(json.dumps(document))
    code, shown = report_on(capsys, "rooms_train", "rooms_val")
    assert code == 1
    assert f"sequence `{shared}` is in rooms_val and in rooms_train" in shown
    line = f"rooms_val: {train[2]['file_name']}: shows the same as {train[2]['file_name']} of rooms"
    assert line in shown


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": []}', "\x00"])
def test_a_file_that_is_no_coco_json_is_one_clear_line(content, rooms, capsys):
    (rooms / "annotations/rooms_val.json").write_text(content)
    code, shown = report_on(capsys, "rooms_val")
    assert code == 1
    assert "is no JSON" in shown or "lacks the list" in shown
