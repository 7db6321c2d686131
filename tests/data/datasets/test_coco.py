"""COCO-format data sets with labels for whole images."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import register_multitask_coco


@pytest.fixture
def registered(tmp_path):
    document = {
        "info": {},
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "pot"}],
        "images": [
            {
                "id": 10,
                "file_name": "images/a.png",
                "height": 4,
                "width": 6,
                "depth_file_name": "depth/a.png",
                "scene_id": 2,
                "sequence": "kitchen_0001",
            },
            {"id": 11, "file_name": "images/b.png", "height": 4, "width": 6},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 10,
                "category_id": 2,
                "bbox": [1, 1, 2, 2],
                "area": 4,
                "iscrowd": 0,
            }
        ],
    }
    json_file = tmp_path / "train.json"
    json_file.write_text(json.dumps(document))
    for name in ("images/a.png", "images/b.png", "depth/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    register_multitask_coco("pots", str(json_file), str(tmp_path), scene_classes=["a", "b", "c"])
    yield tmp_path
    DatasetCatalog.remove("pots")
    MetadataCatalog.remove("pots")


def test_labels_of_an_image_come_along(registered):
    first, second = DatasetCatalog.get("pots")
    assert first["file_name"] == str(registered / "images/a.png")
    assert first["depth_file_name"] == str(registered / "depth/a.png")
    assert (first["scene_id"], first["sequence"]) == (2, "kitchen_0001")
    assert first["annotations"][0]["category_id"] == 1
    assert second["annotations"] == []
    assert not {"depth_file_name", "scene_id", "normals_file_name"} & second.keys()


def test_facts_are_in_the_metadata(registered):
    DatasetCatalog.get("pots")
    metadata = MetadataCatalog.get("pots")
    assert metadata.thing_classes == ["cup", "pot"]
    assert metadata.scene_classes == ["a", "b", "c"]
    assert metadata.image_root == str(registered)


def test_empty_boxes_are_refused_unless_the_data_set_has_them(registered):
    path = registered / "train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [1, 1, 0, 2]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="is empty"):
        DatasetCatalog.get("pots")
    MetadataCatalog.get("pots").set(empty_boxes=True)
    assert DatasetCatalog.get("pots")[0]["annotations"][0]["bbox"] == [1, 1, 0, 2]


def test_a_data_set_that_is_not_there_says_what_to_do(tmp_path):
    register_multitask_coco("absent", str(tmp_path / "absent.json"), str(tmp_path))
    try:
        with pytest.raises(FileNotFoundError, match=r"absent\.json.*datasets/README\.md"):
            DatasetCatalog.get("absent")
    finally:
        DatasetCatalog.remove("absent")
        MetadataCatalog.remove("absent")
