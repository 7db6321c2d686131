"""The demo on images, folders and videos, through the command line."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import run_warm
from tiny_model import CONFIG, OPTS, THRESHOLD, tiny_config

from rock_d2.demo import list_images, output_files, run_on_video
from rock_d2.predictor import Predictor

pytest_plugins = ("tiny_weights",)

# One row: input, detections and three tasks.
PICTURE_WIDTH = 5 * 480 + 4 * 4
CHOICES = {"score_threshold": THRESHOLD, "write_json": True}


def demo(weights: Path, *options: str | Path, root: Path) -> subprocess.CompletedProcess:
    threshold = ("--confidence-threshold", THRESHOLD)
    model = ("--config-file", CONFIG, "--weights", weights)
    return run_warm("tools/demo.py", *model, *options, *threshold, "--opts", *OPTS, root=root)


def test_folder_with_json(rooms_root, tiny_weights, tmp_path):
    folder, output = tmp_path / "images", tmp_path / "seen"
    folder.mkdir()
    source = sorted((rooms_root / "rooms" / "images").iterdir())[0]
    shutil.copy(source, folder / "same.png")
    large = cv2.resize(cv2.imread(str(source)), (701, 533))
    cv2.imwrite(str(folder / "large.jpg"), large)
    (folder / "notes.txt").write_text("no image")
    options = ("--input", folder, "--output", output, "--json")
    done = demo(tiny_weights["rock"], *options, root=rooms_root)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(output / "same.png")).shape == (386, PICTURE_WIDTH, 3)
    # Panels of large images keep their size up to 960.
    assert cv2.imread(str(output / "large.png")).shape == (533 + 26, 5 * 701 + 4 * 4, 3)

    wanted = Predictor(tiny_config(), tiny_weights["rock"])(source)
    found = json.loads((output / "same.json").read_text())
    assert (found["height"], found["width"]) == (120, 160)
    kept = wanted["instances"][wanted["instances"].scores >= THRESHOLD]
    assert 0 < len(kept) < 100
    assert [o["score"] for o in found["instances"]] == pytest.approx(kept.scores.tolist())
    left, top, right, bottom = kept.pred_boxes.tensor[0].tolist()
    box = [left, top, right - left, bottom - top]
    assert found["instances"][0]["bbox"] == pytest.approx(box, abs=0.01)
    probabilities = wanted["scene"].sort(descending=True).values
    assert list(found["scene"].values()) == pytest.approx(probabilities[:5].tolist())
    for name in ("depth", "normals"):
        stored = np.load(found[name]["file_name"])
        np.testing.assert_allclose(stored, wanted[name].numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def frames(rooms_root) -> list[Path]:
    return sorted((rooms_root / "rooms" / "images").iterdir())[:3]


@pytest.fixture(scope="module")
def walk(frames, tmp_path_factory) -> Path:
    """A video of the frames."""
    path = tmp_path_factory.mktemp("walk") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 120))
    for frame in frames:
        writer.write(cv2.imread(str(frame)))
    writer.release()
    return path


def test_video(walk, frames, rooms_root, tiny_weights, tmp_path):
    options = ("--input", walk, "--output", tmp_path / "seen.mp4", "--json")
    done = demo(tiny_weights["rock"], *options, root=rooms_root)
    assert done.returncode == 0, done.stderr
    assert "3 frames" in done.stdout
    video = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    read = [video.read()[1] for _ in frames]
    assert {frame.shape for frame in read} == {(386, PICTURE_WIDTH, 3)}
    assert not video.read()[0]
    # The first panel is the frame, three times as large.
    shown = cv2.resize(read[2][26:, :480], (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - cv2.imread(str(frames[2]))).mean() < 10
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert line.keys() == {"frame", "height", "width", "instances", "scene"}
        assert len(line["scene"]) == 5


def test_what_ends_a_video_leaves_the_frames_before_it(walk, tiny_weights, tmp_path):
    predictor = Predictor(tiny_config(), tiny_weights["rock"])
    frames_left = iter([None, None])
    predictor.model.register_forward_pre_hook(lambda *_: next(frames_left))
    with pytest.raises(StopIteration):
        run_on_video(predictor, str(walk), tmp_path / "seen.avi", **CHOICES)
    lines = (tmp_path / "seen.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 1]
    video = cv2.VideoCapture(str(tmp_path / "seen.avi"))
    assert [video.read()[0] for _ in range(3)] == [True, True, False]


def test_a_video_that_cannot_be_written_is_refused(walk, tiny_weights, tmp_path):
    (tmp_path / "seen.avi").mkdir()
    predictor = Predictor(tiny_config(), tiny_weights["rock"])
    with pytest.raises(ValueError, match=r"seen\.avi: OpenCV cannot write this video"):
        run_on_video(predictor, str(walk), tmp_path / "seen.avi", **CHOICES)


def test_missing_weights_are_one_line(rooms_root):
    image = next((rooms_root / "rooms" / "images").iterdir())
    options = ("--config-file", CONFIG, "--input", image, "--output", "nowhere")
    done = run_warm("tools/demo.py", *options, root=rooms_root)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: no weights: name a trained model")
    assert done.stderr.count("\n") == 1


def test_inputs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing: is missing; --input takes"):
        list_images([str(tmp_path / "nothing")])
    with pytest.raises(ValueError, match=r"holds no image"):
        list_images([str(tmp_path)])
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes\.txt: holds no image"):
        list_images([str(tmp_path / "notes.txt")])
    images = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"]
    with pytest.raises(ValueError, match=r"x\.png: two inputs have this name"):
        output_files(images, tmp_path / "seen")
    assert output_files(images[:1], tmp_path / "y.jpg") == [tmp_path / "y.jpg"]
    assert output_files(images[:1], tmp_path / "y") == [tmp_path / "y" / "x.png"]
