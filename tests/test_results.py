"""A result's thresholds, words, files and units."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from rock_d2.image_files import read_color_image
from rock_d2.results import Result
from rock_d2.tasks import Depth, Normals, Scene

METADATA = Metadata(thing_classes=["bed", "chair"], scene_classes=["kitchen", "study"])


@pytest.fixture
def result() -> Result:
    """A bed of 0.9, a chair of 0.31, a bed of 0.2; a study at 2 m; no normals."""
    boxes = Boxes(torch.tensor([[0, 0, 9, 9], [2, 3, 12, 23], [5, 5, 30, 35.0]]))
    scores, classes = torch.tensor([0.9, 0.31, 0.2]), torch.tensor([0, 1, 0])
    found = Instances((60, 80), pred_boxes=boxes, scores=scores, pred_classes=classes)
    output = {"instances": found, "scene": torch.tensor([0.25, 0.75])}
    output["depth"] = torch.full((1, 60, 80), 2.0)
    tasks = (Scene(num_classes=2), Depth(), Normals())
    image = np.zeros((60, 80, 3), np.uint8)
    return Result(output, image=image, tasks=tasks, metadata=METADATA, name="a.png")


def test_threshold_and_classes(result):
    assert result["instances"] is result.instances
    assert result.threshold(0.3).instances.scores.tolist() == pytest.approx([0.9, 0.31])
    assert result.threshold(0, ["bed"]).instances.pred_classes.tolist() == [0, 0]
    assert len(result.threshold(0.3, ["chair"]).threshold(0.5).instances) == 0
    assert len(result.instances) == 3
    # A picture shows those of 0.5 or more, unless told otherwise.
    assert (result.plot() == result.threshold(0.5).plot()).all()
    assert (result.plot() != result.threshold(0.2).plot()).any()


def test_words_say_what_is_seen_or_why_nothing_is(result):
    assert result.describe(0.1) == "2 × bed, 1 × chair"
    assert result.describe(0.5, ["chair"]) == (
        "no chair scores 0.5 or more; the best is chair 0.31: lower the threshold"
    )
    nothing = result.threshold(0.95)
    assert nothing.describe(0.5) == "no object is detected at any score"
    del nothing["instances"]
    assert nothing.instances is None and nothing.objects() == []
    assert "no detector" in nothing.describe(0.5)
    assert nothing.threshold(0.5).summary().keys() == {"file_name", "height", "width", "scene"}


def test_files(result, tmp_path):
    result.save(tmp_path / "new" / "a.json")
    facts = json.loads((tmp_path / "new" / "a.json").read_text())
    assert facts == json.loads(result.to_json())
    # Left, top, width, height.
    assert facts["instances"][1] == {
        "category": "chair",
        "score": pytest.approx(0.31),
        "bbox": [2, 3, 10, 20],
    }
    assert (facts["height"], facts["width"]) == (60, 80)
    assert list(facts["scene"].items()) == [("study", 0.75), ("kitchen", 0.25)]
    assert result.units == {"scene": "probability of each class", "depth": "metres"}
    result.save(tmp_path / "a.png")
    assert (read_color_image(tmp_path / "a.png") == result.plot()).all()
    maps = result.save_maps(tmp_path / "new" / "a")
    assert maps == {"depth": {"file_name": f"{tmp_path}/new/a_depth.npy", "unit": "metres"}}
    assert (np.load(maps["depth"]["file_name"]) == 2).all()
