"""The report on a data set: every kind of damage is found, all of it in one run."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import check_dataset as tool
import cv2
import numpy as np
import pytest
from check_dataset import check_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import register_multitask_coco
from rock_d2.tasks import Depth, Normals, Scene


@pytest.fixture
def broken(rooms_root, tmp_path):
    """A copy of rooms that a test may damage: its JSON document, its folder, and a checker."""
    root = tmp_path / "rooms"
    shutil.copytree(rooms_root / "rooms", root)
    json_file = root / "annotations/rooms_val.json"
    document = json.loads(json_file.read_text())

    def problems():
        json_file.write_text(json.dumps(document))
        return check_dataset("broken", [Scene(), Depth(), Normals()], num_processes=1).problems

    register_multitask_coco("broken", str(json_file), str(root), scene_classes=["any"] * 27)
    yield document, root, problems
    DatasetCatalog.remove("broken")
    MetadataCatalog.remove("broken")


def report_on(monkeypatch, capsys, root, *names: str) -> tuple[int, str]:
    """The exit code of the tool and what it prints."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    code = tool.main(tool.make_parser().parse_args([*names, "--jobs", "1"]))
    return code, capsys.readouterr().out


def test_rooms_are_in_order(rooms_root, monkeypatch, capsys):
    code, shown = report_on(monkeypatch, capsys, rooms_root, "rooms_train", "rooms_val")
    assert code == 0, shown
    assert "rooms_train: 15 images" in shown and "rooms_val: 9 images" in shown
    assert shown.count(": 0 problem(s)") == 2
    assert shown.count("100.0 %") == 10


def damage(document: dict, root: Path) -> None:
    """Spoil files, fields, boxes and ids, each in its own way."""
    images, annotations = document["images"], document["annotations"]
    (root / images[0]["file_name"]).unlink()
    cv2.imwrite(str(root / images[1]["file_name"]), np.zeros((50, 60, 3), np.uint8))
    cv2.imwrite(str(root / images[2]["depth_file_name"]), np.zeros((120, 160), np.uint8))
    whole = (root / images[3]["file_name"]).read_bytes()
    (root / images[3]["file_name"]).write_bytes(whole[:-1000])
    wrong = cv2.imread(str(root / images[3]["normals_file_name"]))
    wrong[:2, 0] = (254, 254, 254)
    cv2.imwrite(str(root / images[3]["normals_file_name"]), wrong)
    images[4]["scene_id"] = 27
    images[6]["id"] = images[7]["id"]
    first, second, third = annotations[:3]
    for annotation in (first, second, third):
        annotation["image_id"] = images[0]["id"]
    first["bbox"] = [150, 0, 20, 20]
    second["bbox"] = [10, 10, 0, 5]
    third["category_id"] = 20
    annotations[4]["image_id"] = 10_000


def test_every_problem_is_found_at_once(broken):
    document, root, problems = broken
    assert problems() == []
    # As they were: ids and fields are among what is spoilt.
    images, annotations = deepcopy(document["images"]), deepcopy(document["annotations"])
    name = images[0]["file_name"]
    damage(document, root)
    found = "\n".join(problems())
    for expected in (
        f"`file_name` names {root / images[0]['file_name']}, which is not there",
        f"{images[1]['file_name']}: is 50 x 60, `height` and `width` say 120 x 160",
        f"{images[2]['depth_file_name']}: named by `depth_file_name`, holds 1 channel(s) of uint8",
        f"{images[3]['file_name']}: cannot be read: image file is truncated",
        f"{images[3]['normals_file_name']}: 2 of 19200 known pixels are no unit vectors",
        f"{images[4]['file_name']}: `scene_id` is 27; it must be an int from 0 to 26",
        f"`images`: id {images[7]['id']} is given 2 times",
        f"annotation id {annotations[0]['id']} of {name}: `bbox` [150, 0, 20, 20] leaves",
        f"annotation id {annotations[1]['id']} of {name}: `bbox` [10, 10, 0, 5] is empty; "
        "remove it, or register the set with empty_boxes=True",
        f"annotation id {annotations[2]['id']}: `category_id` 20 is no category",
        f"annotation id {annotations[4]['id']}: `image_id` 10000 is no image",
    ):
        assert expected in found


def test_training_refuses_what_the_check_would_find(broken):
    document, _, problems = broken
    document["annotations"][0]["category_id"] = 77
    problems()
    with pytest.raises(ValueError, match=r"rooms_val\.json.*`category_id` 77.*check_dataset"):
        DatasetCatalog.get("broken")


def test_splits_that_share_a_sequence_or_an_image_are_found(
    rooms_root, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "rooms"
    shutil.copytree(rooms_root / "rooms", root)
    path = root / "annotations/rooms_val.json"
    train = json.loads((root / "annotations/rooms_train.json").read_text())["images"]
    document = json.loads(path.read_text())
    shared = document["images"][0]["sequence"] = train[0]["sequence"]
    document["images"][1]["file_name"] = train[2]["file_name"]
    path.write_text(json.dumps(document))
    code, shown = report_on(monkeypatch, capsys, tmp_path, "rooms_train", "rooms_val")
    assert code == 1
    assert f"sequence `{shared}` is in rooms_val and in rooms_train" in shown
    line = f"rooms_val: {train[2]['file_name']}: shows the same as {train[2]['file_name']} of rooms"
    assert line in shown


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": []}', "\x00"])
def test_a_file_that_is_no_coco_json_is_one_clear_line(tmp_path, monkeypatch, capsys, content):
    path = tmp_path / "rooms/annotations/rooms_val.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    code, shown = report_on(monkeypatch, capsys, tmp_path, "rooms_val")
    assert code == 1
    assert "is no JSON" in shown or "lacks the list" in shown
