"""The demo on images, folders, videos and in the browser, through the command line."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import chromium, find_chromium
from command_line import ROOT, run
from tiny_model import CONFIG, OPTS, THRESHOLD, tiny_config

from rock_d2.demo import list_images, output_files
from rock_d2.predictor import Predictor

pytest_plugins = ("tiny_weights",)

# One row: input, detections and three tasks.
PICTURE_WIDTH = 5 * 480 + 4 * 4


def demo(weights: Path, *options: str | Path, root: Path) -> subprocess.CompletedProcess:
    threshold = ("--confidence-threshold", THRESHOLD)
    model = ("--config-file", CONFIG, "--weights", weights)
    return run("tools/demo.py", *model, *options, *threshold, "--opts", *OPTS, root=root)


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


def test_video(rooms_root, tiny_weights, tmp_path):
    frames = sorted((rooms_root / "rooms" / "images").iterdir())[:3]
    writer = cv2.VideoWriter(
        str(tmp_path / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 120)
    )
    for frame in frames:
        writer.write(cv2.imread(str(frame)))
    writer.release()
    options = ("--input", tmp_path / "walk.avi", "--output", tmp_path / "seen.mp4", "--json")
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
    assert all(len(line["scene"]) == 5 for line in lines)


def test_missing_weights_are_one_line(rooms_root):
    image = next((rooms_root / "rooms" / "images").iterdir())
    options = ("--config-file", CONFIG, "--input", image, "--output", "nowhere")
    done = run("-W", "ignore", "tools/demo.py", *options, root=rooms_root)
    assert done.returncode == 1
    assert done.stderr.startswith("demo.py: no weights: name a trained model")
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


@pytest.fixture
def page_address(rooms_root, tiny_weights, tmp_path):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra `demo`")
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "tools/demo.py", "--config-file", CONFIG, "--web", "--port", port]
    command += ["--weights", tiny_weights["rock"], "--confidence-threshold", THRESHOLD]
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*map(str, command), "--opts", *OPTS],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_server(server, port, tmp_path / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for_server(server: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        else:
            return


def test_page_in_a_browser(page_address, rooms_root, tiny_weights, tmp_path):
    image = sorted((rooms_root / "rooms" / "images").iterdir())[0]
    output = Predictor(tiny_config(), tiny_weights["rock"])(image)
    with chromium(tmp_path / "profile") as page:
        page.open(page_address, width=1280, height=1000)
        page.wait_for("document.querySelector('input[type=file]') !== null")
        page.choose_file("input[type=file]", image)
        # Detections and three tasks, each 480 wide with a caption of 26.
        panels = "[...document.images].filter(i => i.naturalWidth == 480)"
        page.wait_for(f"{panels}.length == 4")
        assert page.evaluate(f"{panels}.map(i => i.naturalHeight)") == [360 + 26] * 4
        text = page.evaluate("document.body.innerText")
        best = output["scene"].argmax()
        names = Predictor(tiny_config(), tiny_weights["rock"]).metadata.scene_classes
        assert names[best] in text and f"{output['scene'][best]:.0%}" in text
        # Nothing comes from other machines.
        others = "e => !e.name.startsWith(location.origin)"
        assert page.evaluate(f"performance.getEntriesByType('resource').some({others})") is False
        # A score of 1 is never reached: the detections' panel changes when the slider goes there.
        first = page.evaluate(f"{panels}[0].src")
        slide = (
            "(s => { s.value = 1; for (const e of ['input', 'change', 'pointerup'])"
            " s.dispatchEvent(new Event(e, {bubbles: true})) })"
        )
        page.evaluate(f"{slide}(document.querySelector('input[type=range]'))")
        page.wait_for(f"{panels}[0].src != {first!r}")


def test_page_refuses_huge_images(tmp_path):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra `demo`")
    from rock_d2.web import read_bounded

    # 16 megapixels of one colour are a file of some kilobytes.
    file = str(tmp_path / "huge.png")
    cv2.imwrite(file, np.zeros((4000, 4000, 3), np.uint8))
    with pytest.raises(ValueError, match=r"4000 x 4000 pixels; 12,000,000 are the limit"):
        read_bounded(file)
