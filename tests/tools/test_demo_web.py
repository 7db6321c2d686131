"""The demo's page, in a real browser and under hand-made requests."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import chromium, find_chromium
from command_line import ROOT
from PIL import Image
from tiny_model import BASELINE_CONFIG, CONFIG, OPTS, THRESHOLD, tiny_config

from rock_d2.predictor import Predictor

gradio = pytest.importorskip("gradio", reason="the page needs Gradio: the extra `demo`")
web = pytest.importorskip("rock_d2.web")
pytest_plugins = ("tiny_weights",)


@pytest.fixture(scope="module")
def address(rooms_root, tiny_weights, tmp_path_factory) -> Iterator[str]:
    """A page of two models."""
    folder = tmp_path_factory.mktemp("page")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "tools/demo.py", "--config-file", CONFIG, "--web", "--port", port]
    command += ["--weights", tiny_weights["rock"], "--confidence-threshold", THRESHOLD]
    command += ["--baseline-config-file", BASELINE_CONFIG, "--baseline-weights"]
    command += [tiny_weights["ssd"], "--opts", *OPTS]
    places = {"DETECTRON2_DATASETS": str(rooms_root), "GRADIO_TEMP_DIR": str(folder / "files")}
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | places | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_server(server, port, folder / "log.txt")
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


def test_page_in_a_browser(address, rooms_root, tiny_weights, tmp_path):
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    image = sorted((rooms_root / "rooms" / "images").iterdir())[0]
    predictor = Predictor(tiny_config(), tiny_weights["rock"])
    output = predictor(image)
    with chromium(tmp_path / "profile") as page:
        page.open(address, width=1280, height=1000)
        page.wait_for("document.querySelector('input[type=file]') !== null")
        page.choose_file("input[type=file]", image)
        # Figure 3 without its input: two models' detections and three tasks, each 480 wide with a
        # caption of 26.
        panels = "[...document.images].filter(i => i.naturalWidth == 480)"
        page.wait_for(f"{panels}.length == 5")
        assert page.evaluate(f"{panels}.map(i => i.naturalHeight)") == [360 + 26] * 5
        text = page.evaluate("document.body.innerText")
        names = predictor.metadata.scene_classes
        for best in output["scene"].argsort(descending=True)[:5]:
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


def upload(address: str, name: str, content: bytes) -> str:
    """Sends a file as a browser does; returns where the server has put it."""
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    request = urllib.request.Request(
        f"{address}/gradio_api/upload",
        data=head.encode() + content + b"\r\n--edge--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=edge"},
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)[0]


def ask(address: str, path: str) -> str:
    """The events that the page's endpoint answers with."""
    return answer_to(address, queued(address, path))


def queued(address: str, path: str) -> str:
    """Asks for an answer; returns what it can be had by."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    request = urllib.request.Request(
        f"{address}/gradio_api/call/look",
        data=json.dumps({"data": [file, THRESHOLD]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["event_id"]


def answer_to(address: str, event: str) -> str:
    with urllib.request.urlopen(f"{address}/gradio_api/call/look/{event}") as reply:
        return reply.read().decode()


def test_uploads_are_bounded_and_their_names_tamed(address, rooms_root):
    image = sorted((rooms_root / "rooms" / "images").iterdir())[0]
    path = Path(upload(address, "../../a/<b>;$(c).png", image.read_bytes()))
    assert not set(path.name) & set("/<>$") and "files" in path.parts
    assert ".." not in path.parts
    assert "event: complete" in ask(address, str(path))
    with pytest.raises(urllib.error.HTTPError) as refusal:
        upload(address, "large.png", bytes(10 * 2**20 + 1))
    assert refusal.value.code == 413


def test_hand_made_requests_get_nothing(address):
    for path in (str(ROOT / "setup.py"), "/etc/hostname", f"{address}/favicon.ico"):
        assert "event: error" in ask(address, path)


@contextmanager
def opened_when_read(pipe: Path) -> Iterator[None]:
    """Whoever has opened the pipe to read from it waits meanwhile."""
    end = time.monotonic() + 60
    while True:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:  # Nobody has yet.
            assert time.monotonic() < end
            time.sleep(0.02)
    try:
        yield
    finally:
        os.close(descriptor)


def test_requests_beyond_the_queue_are_turned_away(address, rooms_root):
    image = sorted((rooms_root / "rooms" / "images").iterdir())[0]
    path = upload(address, "room.png", image.read_bytes())
    pipe = Path(upload(address, "pipe.png", b""))
    pipe.unlink()
    os.mkfifo(pipe)
    first = queued(address, str(pipe))
    with opened_when_read(pipe):
        waiting = [queued(address, path) for _ in range(web.MAX_QUEUE)]
        with pytest.raises(urllib.error.HTTPError) as refusal:
            queued(address, path)
    assert refusal.value.code == 503
    assert "event: error" in answer_to(address, first)
    for event in waiting:
        assert "event: complete" in answer_to(address, event)
    assert "event: complete" in ask(address, path)


def test_only_this_machine_sees_the_page(address):
    """A server of all addresses would answer on every one of 127.0.0.0/8."""
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (4000, 4000, r"4000 x 4000 pixels; 12,000,000 are the limit"),
        # Beyond what Pillow itself takes for an attack.
        (14000, 14000, r"more than 12,000,000 pixels"),
        (9, 1, r"1 x 9 pixels; one side may be 8 times the other"),
    ],
)
def test_small_files_with_huge_pictures_are_refused(tmp_path, height, width, message):
    file = str(tmp_path / "bomb.png")
    Image.new("1", (width, height)).save(file)
    assert Path(file).stat().st_size < 100_000
    with pytest.raises(ValueError, match=message):
        web.read_bounded(file)


def test_what_is_no_image_of_a_known_kind_is_refused(tmp_path):
    for name in ("empty.png", "<script>.png", "drawing.svg"):
        (tmp_path / name).write_text("" if name == "empty.png" else "<svg/>")
    cv2.imwrite(str(tmp_path / "other.tiff"), np.zeros((8, 8, 3), np.uint8))
    for file in tmp_path.iterdir():
        with pytest.raises(ValueError, match=r"^the file is no image.*JPEG, PNG, WEBP") as refusal:
            web.read_bounded(str(file))
        assert file.stem not in str(refusal.value)


def test_no_answer_takes_longer_than_the_limit(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    goes_on, begun = threading.Event(), []

    def predict(image: np.ndarray, score: float) -> web.Look:
        begun.append(score)
        goes_on.wait()
        return web.Look([image], {"task": {"class": 1.0}}, [image, image])

    answer = web.answer_within(1.0, predict, num_outputs=4)
    upload = {"path": str(tmp_path / "a.png")}
    for score in (0.3, 0.4):
        with pytest.raises(gradio.Error, match=r"no answer within 1\.0 s"):
            answer(upload, score)
    goes_on.set()
    # The second request never began; scores end at 1.
    assert len(answer(upload, 7)) == 4 and begun == [0.3, 1.0]
    assert answer(None, 0.5) == [None] * 4
