"""The pictures of the ground truth and figure 3, as the tools write them."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import visualize_data
import visualize_predictions
from tiny_model import BASELINE_CONFIG, CONFIG, OPTS, THRESHOLD

from rock_d2.engine.command_line import parse

pytest_plugins = ("tiny_weights",)

# A panel of an image of 120 x 160: 480 x 360 below a caption of 26, with 4 pixels between panels.
HEIGHT = 26 + 360


@pytest.fixture(autouse=True)
def rooms(rooms_root, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))


def draw(tool, folder: Path, *arguments: object) -> list[Path]:
    command = ["--output-dir", folder, *arguments]
    tool.main(parse(tool.make_parser(), list(map(str, command))))
    return sorted(file for file in folder.glob("*.png") if file.stem != "contact_sheet")


def panels(file: Path, count: int, *, rows: int = 1) -> list[np.ndarray]:
    picture = cv2.imread(str(file))
    assert picture.shape == (rows * HEIGHT, 480 * count + 4 * (count - 1), 3)
    return [picture[26:HEIGHT, i * 484 :][:, :480] for i in range(count)]


def test_every_label_is_drawn(tmp_path):
    options = ("--dataset", "rooms_val", "--num-images", 4)
    pictures = draw(visualize_data, tmp_path, *options)
    assert len(pictures) == 4
    # Objects and four maps; their pixels differ from each other.
    assert all(panel.std() > 5 for panel in panels(pictures[0], 5))


def test_other_classes_of_the_detector_are_named(tmp_path):
    options = ("--source", "dataloader", "--config-file", CONFIG, "--num-images", 2, *OPTS)
    classes = ("DATASETS.CLASSES", '["bed", "chair"]', "MODEL.SSD.NUM_CLASSES", 2)
    assert len(draw(visualize_data, tmp_path, *options, *classes)) == 2
    facts = visualize_data.with_class_names("rooms_train", ["bed", "chair"])
    assert facts.thing_classes == ["bed", "chair"] and len(facts.scene_classes) == 27


def test_figure_with_baseline(tiny_weights, tmp_path):
    model = ("--config-file", CONFIG, "--weights", tiny_weights["rock"])
    baseline = ["--baseline-config-file", BASELINE_CONFIG]
    baseline += ["--baseline-weights", tiny_weights["ssd"], "--confidence-threshold", THRESHOLD]
    pictures = draw(visualize_predictions, tmp_path, *model, *baseline, "--num-images", 3, *OPTS)
    # Every third image of nine.
    assert [picture.stem for picture in pictures] == [f"rooms_val_{i:06d}" for i in (15, 18, 21)]
    # Input, baseline, detections and three tasks, above the truth.
    shown = panels(pictures[0], 6, rows=2)
    assert all(panel.std() > 2 for panel in shown)
    # Both models find something, and not the same.
    assert all((a != b).any() for a, b in pairwise(shown[:3]))
    with pytest.raises(ValueError, match="--baseline-weights needs --baseline-config-file"):
        draw(visualize_predictions, tmp_path, *model, "--baseline-weights", "some.pth")
