"""The page of tools/web_demo.py, in a real browser and under hand-made requests."""

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, find_chromium
from PIL import Image
from tiny_model import THRESHOLD, tiny_config
from untrusted_images import read_untrusted_image

from rock_d2.predictor import Predictor

pytest.importorskip("gradio", reason="the page needs Gradio: the extra `demo`")
import web_demo

pytest_plugins = ("tiny_weights",)

API = "/gradio_api"
META = {"meta": {"_type": "gradio.FileData"}}
MIB = 2**20


@pytest.fixture(scope="module")
def predictor(tiny_weights) -> Predictor:
    return Predictor(tiny_config(), tiny_weights["rock"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page").resolve()


@pytest.fixture(scope="module")
def address(predictor, folder) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setattr("tempfile.tempdir", str(folder))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        page = web_demo.build_page(predictor, THRESHOLD)
        where = {"server_name": "127.0.0.1", "server_port": port, "prevent_thread_lock": True}
        web_demo.serve(page, folder, hosts=["127.0.0.1"], **where)
        yield f"http://127.0.0.1:{port}"
        page.close()


@pytest.fixture
def photo(tmp_path) -> Path:
    """12.2 megapixels, as a phone takes and turns them: 3024 wide, 4032 high."""
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    exif, photo = Image.Exif(), tmp_path / "IMG_0001.jpg"
    exif[0x0112] = 6
    Image.fromarray(coarse).resize((4032, 3024)).save(photo, quality=95, exif=exif)
    return photo


def test_page_in_a_browser(address, predictor, photo, tmp_path):
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    image = read_untrusted_image(photo)
    assert image.shape == (1600, 1200, 3)
    output = predictor(image)
    with chromium(tmp_path / "profile") as page:
        page.open(address)
        page.wait_for("document.querySelector('input[type=file]') !== null")
        page.choose_file("input[type=file]", photo)
        # Detections, the scene's heat map, depth and normals: each 960 x 1280, captions as text.
        panels = "[...document.images].filter(i => i.naturalWidth == 960)"
        page.wait_for(f"{panels}.length == 4")
        assert page.evaluate(f"{panels}.map(i => i.naturalHeight)") == [1280] * 4
        text = page.evaluate("document.body.innerText")
        names = predictor.metadata.scene_classes
        for best in output["scene"].argsort(descending=True)[:5]:
            assert names[best] in text and f"{output['scene'][best]:.0%}" in text
        row = output.objects()[0]
        assert f"\n{row['category']}\n{round(row['score'], 2)}\n" in text
        # Nothing comes from other machines.
        others = "e => !e.name.startsWith(location.origin)"
        assert page.evaluate(f"performance.getEntriesByType('resource').some({others})") is False

        def changes_to(score, action, *arguments) -> None:
            action(*arguments)
            page.wait_for(f"document.body.innerText.includes('(score from {score})')")

        page.call("Page.bringToFront")
        changes_to(0.95, page.type_into, "input[type=number]", "0.95")
        best = f"the best is {row['category']} {row['score']:.2f}: lower the threshold"
        assert f"no object scores 0.95 or more; {best}" in page.evaluate("document.body.innerText")
        changes_to(0.05, page.type_into, "input[type=number]", "0.05")
        page.evaluate("document.querySelector('input[type=range]').focus()")
        changes_to(0.1, page.press, "ArrowRight")
        changes_to(0.9, page.click_at, "input[type=range]", 0.9)
        # An example of 240 x 320, by the keyboard.
        page.evaluate("document.querySelector('button.gallery-item').focus()")
        page.press("Enter")
        page.wait_for("[...document.images].filter(i => i.naturalWidth == 480).length == 4")


def post(address: str, path: str, data: bytes, **headers: str) -> str:
    request = urllib.request.Request(f"{address}{API}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request) as reply:
        return reply.read().decode()


def upload(address: str, content: bytes, name: str = "room.png", **headers: str) -> str:
    """Send a file as a browser does; return its place on the server."""
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    form = head.encode() + content + b"\r\n--edge--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    return json.loads(post(address, "/upload", form, **kind | headers))[0]


def look(address: str, file: object, **headers: str) -> str:
    """Return the events that the page's endpoint answers with."""
    data = json.dumps({"data": [file, THRESHOLD, []]}).encode()
    kind = {"Content-Type": "application/json"}
    event = json.loads(post(address, "/call/look", data, **kind | headers))["event_id"]
    with urllib.request.urlopen(f"{address}{API}/call/look/{event}") as reply:
        return reply.read().decode()


def refusal(ask, *arguments, **options) -> int:
    with pytest.raises(urllib.error.HTTPError) as problem:
        ask(*arguments, **options)
    return problem.value.code


@pytest.fixture
def small(tmp_path) -> bytes:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "small.png")
    return (tmp_path / "small.png").read_bytes()


def test_requests_name_no_file_of_the_server(address, folder, small, tmp_path):
    """Gradio's gr.Image opens any image where ``meta`` is left out, and a pipe blocks it."""
    os.mkfifo(tmp_path / "pipe.png")
    (folder / "link.png").symlink_to(tmp_path / "small.png")
    for name in (
        *(tmp_path / "small.png", tmp_path / "pipe.png", folder / "link.png", "/dev/ptmx"),
        *(f"{folder}/../{tmp_path.name}/small.png", f"{address}/favicon.ico", "a\0b"),
    ):
        for meta in ({}, META):
            assert refusal(look, address, {"path": str(name), **meta}) == 403
            assert refusal(look, address, [{"x": {"path": str(name), **meta}}]) == 403
    assert refusal(post, address, "/call/look", b"{", **{"Content-Type": "text/plain"}) == 403
    example = str(web_demo.EXAMPLES / "kitchen.jpg")
    assert "event: complete" in look(address, {"path": example, **META})
    outside = f"{web_demo.EXAMPLES}/../trained/rock_rooms.md"
    assert refusal(look, address, {"path": outside, **META}) == 403


def test_other_sites_are_refused_and_other_machines_cannot_connect(address, small):
    for ask, arguments in ((upload, (small,)), (look, (None,))):
        assert refusal(ask, address, *arguments, Host="evil.example") == 400
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert refusal(ask, address, *arguments, Origin=origin) == 403
    assert upload(address, small, Origin=address)
    # A server of all addresses would answer on every one of 127.0.0.0/8.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", int(address.rsplit(":", 1)[1])), timeout=5)


def test_the_volume_of_uploads_is_bounded(address, folder, small, monkeypatch):
    monkeypatch.setattr(web_demo, "MAX_VOLUME", 3 * MIB)
    first = upload(address, small)
    for i in range(6):
        last = upload(address, bytes([i]) * MIB)
        assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 3 * MIB
    assert Path(last).is_file()
    # A later look at a deleted upload is an error of that request alone.
    assert "event: error" in look(address, {"path": first, **META})
    assert "event: complete" in look(address, {"path": upload(address, small), **META})


def test_small_file_with_a_huge_picture_is_refused(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(ValueError, match="9000 x 9000 pixels; 60,000,000 are the limit"):
        read_untrusted_image(tmp_path / "bomb.png")


def test_decoding_ends_at_its_time_limit(tmp_path):
    """As for a JPEG file of thousands of scans, which takes minutes; a pipe takes for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"takes more than 0\.5 s to decode"):
        read_untrusted_image(tmp_path / "pipe", seconds=0.5)
