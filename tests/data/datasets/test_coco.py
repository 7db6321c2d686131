"""COCO-format data sets with labels for whole images."""

import json
import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import register_multitask_coco

README = Path(__file__).parents[3] / "datasets/README.md"


def write_pots(folder: Path) -> Path:
    """Write a JSON with two images, of which one has labels, and their empty files."""
    document = {
        "info": {},
        "categories": [{"id": 2, "name": "pot"}, {"id": 1, "name": "cup"}],
        "images": [
            {
                "id": 10,
                "file_name": "images/a.png",
                "height": 4,
                "width": 6,
                "depth_file_name": "depth/a.png",
                "scene_id": 1,
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
    for name in ("images/a.png", "images/b.png", "depth/a.png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()
    json_file = folder / "train.json"
    json_file.write_text(json.dumps(document))
    return json_file


def remove(name: str) -> None:
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def registered(tmp_path):
    json_file = write_pots(tmp_path)
    register_multitask_coco("pots", str(json_file), str(tmp_path), scene_classes=["a", "b"])
    yield tmp_path
    remove("pots")


def test_labels_of_an_image_come_along(registered):
    first, second = DatasetCatalog.get("pots")
    assert first["file_name"] == str(registered / "images/a.png")
    assert first["depth_file_name"] == str(registered / "depth/a.png")
    assert (first["scene_id"], first["sequence"]) == (1, "kitchen_0001")
    assert first["annotations"][0]["category_id"] == 1
    assert second["annotations"] == []
    assert not {"depth_file_name", "scene_id", "normals_file_name"} & second.keys()


def test_ids_need_not_start_at_one(registered, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)
    document = json.loads((registered / "train.json").read_text())
    for thing in (*document["categories"], *document["annotations"]):
        thing["category_id" if "category_id" in thing else "id"] += 5
    (registered / "train.json").write_text(json.dumps(document))
    (annotation,) = DatasetCatalog.get("pots")[0]["annotations"]
    assert annotation["category_id"] == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_snippet_of_the_readme_runs_as_printed(tmp_path, monkeypatch):
    section = README.read_text().split("## Your own")[1]
    snippet = section.split("```python\n")[1].split("```")[0]
    exec(compile(snippet, "datasets/README.md", "exec"), {})
    # Registered before the folder was known.
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    metadata = MetadataCatalog.get("kitchens_train")
    assert metadata.get("thing_classes") is None
    write_pots(tmp_path / "kitchens")
    first, _ = DatasetCatalog.get("kitchens_train")
    assert first["file_name"] == str(tmp_path / "kitchens/images/a.png")
    assert metadata.json_file == str(tmp_path / "kitchens/train.json")
    assert (metadata.thing_classes, metadata.scene_classes[first["scene_id"]]) == (
        ["cup", "pot"],
        "pantry",
    )
    remove("kitchens_train")


def test_an_image_may_have_unknown_boxes_and_then_has_none(registered):
    path = registered / "train.json"
    document = json.loads(path.read_text())

    def load_with(**fields):
        for image, known in zip(document["images"], fields["known"], strict=True):
            image["boxes_known"] = known
        path.write_text(json.dumps(document))
        return DatasetCatalog.get("pots")

    first, second = load_with(known=[True, False])
    assert len(first["annotations"]) == 1
    assert "annotations" not in second and "boxes_known" not in {**first, **second}
    with pytest.raises(
        ValueError, match=r"annotation id 1 of images/a\.png.*`boxes_known` is false"
    ):
        load_with(known=[False, False])
    with pytest.raises(ValueError, match="`boxes_known` is 0; it must be true or false"):
        load_with(known=[0, True])


def test_a_mask_that_would_lose_its_object_is_refused(registered):
    path = registered / "train.json"
    document = json.loads(path.read_text())
    (found,) = document["annotations"]
    for mask in ([], None, [[1, 1, 3, 1, 3, 3], [1, 1]], {"counts": "0", "size": [4, 6]}):
        path.write_text(json.dumps(document | {"annotations": [found | {"segmentation": mask}]}))
        assert len(DatasetCatalog.get("pots")[0]["annotations"]) == 1
    for mask in ([[]], [[1, 1, 3, 3]], [[1, 1, 3, 1, 3, 3, 2]], "4", {"counts": [24]}):
        path.write_text(json.dumps(document | {"annotations": [found | {"segmentation": mask}]}))
        with pytest.raises(ValueError, match=r"`segmentation` is .*of 3 points or more"):
            DatasetCatalog.get("pots")


def test_an_object_that_detectron2_would_not_take_is_named(registered):
    path = registered / "train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["ignore"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="`annotations` number 0: `ignore` is 1; it must be 0"):
        DatasetCatalog.get("pots")


def test_a_set_may_have_no_categories(registered):
    path = registered / "train.json"
    document = json.loads(path.read_text()) | {"categories": [], "annotations": []}
    path.write_text(json.dumps(document))
    assert [record["annotations"] for record in DatasetCatalog.get("pots")] == [[], []]


def test_classes_may_be_a_tuple(tmp_path):
    json_file = write_pots(tmp_path)
    register_multitask_coco("tuple", str(json_file), str(tmp_path), thing_classes=("cup", "pot"))
    assert len(DatasetCatalog.get("tuple")) == 2
    remove("tuple")


@pytest.mark.parametrize("field", ["image_id", "annotations", "image"])
def test_fields_that_would_replace_others_are_refused_by_name(registered, field):
    path = registered / "train.json"
    document = json.loads(path.read_text())
    document["images"][1][field] = 10
    path.write_text(json.dumps(document))
    with pytest.raises(
        ValueError, match=rf"train.json: images/b.png \(image id 11\): has a field `{field}`"
    ):
        DatasetCatalog.get("pots")
