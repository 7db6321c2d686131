"""The demo on images, folders and videos."""

import json
import shutil
from pathlib import Path

import cv2
import demo
import numpy as np
import pytest
from tiny_model import CONFIG, OPTS, THRESHOLD, tiny_config

from rock_d2.engine.command_line import parse
from rock_d2.predictor import Predictor

pytest_plugins = ("tiny_weights",)

# One row: input, detections and three tasks.
PICTURE_WIDTH = 5 * 480 + 4 * 4


def run(weights: Path, *arguments: object, options: tuple[str, ...] = ()) -> None:
    command = ["--config-file", CONFIG, "--weights", weights, "--confidence-threshold", THRESHOLD]
    command += [*arguments, "--opts", *OPTS, *options]
    demo.main(parse(demo.make_parser(), list(map(str, command))))


@pytest.fixture(scope="module")
def photos(rooms_root) -> list[Path]:
    return sorted((rooms_root / "rooms" / "images").iterdir())[:3]


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """Images of two sizes, and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(photos[0], folder / "same.png")
    cv2.imwrite(str(folder / "large.jpg"), cv2.resize(cv2.imread(str(photos[0])), (701, 533)))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_folder_with_json(folder, tiny_weights, tmp_path):
    output = tmp_path / "seen"
    run(tiny_weights["rock"], "--input", folder, "--output", output, "--json", "--maps")
    assert cv2.imread(str(output / "same.png")).shape == (386, PICTURE_WIDTH, 3)
    assert (output / "large.png").is_file()

    wanted = Predictor(tiny_config(), tiny_weights["rock"])(folder / "same.png")
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


def test_unreadable_file_is_reported_and_the_others_are_drawn(
    folder, tiny_weights, tmp_path, capsys
):
    (folder / "middle.png").write_text("no image")
    with pytest.raises(ValueError, match="1 of 3 images could not be read"):
        run(tiny_weights["rock"], folder, "--json", "--output", tmp_path / "seen")
    made = {path.name for path in (tmp_path / "seen").iterdir()}
    assert made == {"large.json", "large.png", "same.json", "same.png"}
    printed = capsys.readouterr()
    assert "middle.png: is no image" in printed.err and "2 images drawn" in printed.out


def test_labels_are_given_to_the_model(photos, rooms_root, tiny_weights, tmp_path):
    label = rooms_root / "rooms" / "depth" / photos[0].name
    images, given = ("--input", photos[0], "--output", tmp_path), ("MODEL.ROCK.GIVEN", '["Depth"]')
    scores = []
    for words in ((), ("--depth", label)):
        run(tiny_weights["rock"], *images, "--json", *words, options=given)
        found = json.loads((tmp_path / photos[0].with_suffix(".json").name).read_text())
        scores.append([box["score"] for box in found["instances"]])
    assert scores[0] != scores[1]
    assert not list(tmp_path.glob("*.npy"))
    with pytest.raises(ValueError, match=r"--depth: has 2 labels for 1 images"):
        run(tiny_weights["rock"], *images, "--depth", label, label, options=given)


@pytest.fixture
def walk(photos, tmp_path) -> Path:
    """A video of the photos."""
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 120))
    for photo in photos:
        writer.write(cv2.imread(str(photo)))
    writer.release()
    return path


def test_video(walk, photos, tiny_weights, tmp_path):
    run(tiny_weights["rock"], "--input", walk, "--output", tmp_path / "seen.mp4", "--json")
    video = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    read = [video.read()[1] for _ in photos]
    assert {frame.shape for frame in read} == {(386, PICTURE_WIDTH, 3)}
    assert not video.read()[0]
    # The first panel is the frame, three times as large.
    shown = cv2.resize(read[2][26:, :480], (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - cv2.imread(str(photos[2]))).mean() < 10
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert line.keys() == {"frame", "height", "width", "instances", "scene"}
        assert len(line["scene"]) == 5


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_output_destroys_an_input(folder, walk, tiny_weights, tmp_path):
    photo, weights = folder / "same.png", tiny_weights["rock"]
    (tmp_path / "twin.png").hardlink_to(photo)
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    before = contents(tmp_path)
    for source, output in (
        (folder, folder),
        (folder, folder / "seen"),
        (folder / "large.jpg", folder),
        (photo, photo),
        (photo, tmp_path / "twin.png"),
        (photo, tmp_path / "link.png"),
        (walk, walk),
    ):
        with pytest.raises(ValueError, match=r"choose another --output"):
            run(weights, "--input", source, "--output", output)
        assert contents(tmp_path) == before, (source, output)
    # A new file beside the input harms nothing.
    run(weights, "--input", photo, "--output", folder / "seen.png")
    assert contents(tmp_path).keys() - before.keys() == {str(folder / "seen.png")}
