"""Addresses as MODEL.WEIGHTS: nothing is written outside of the cache, nor kept if it is wrong."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rock_d2.checkpoint.downloads import local_file

CONTENT = b"weights"
MD5, SHA256 = "63f4f1", "9a129038"


class Handler(BaseHTTPRequestHandler):
    """Answers any request; a path with "cut" promises a byte more than it gets."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + ("cut" in self.path)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("detectron2/COCO-Detection/x/137257794/model_final_{}.pkl", MD5),
        ("models/resnet50-{}.pth", SHA256.upper()),
        ("models/resnet50-{}.pth.tar", SHA256),
    ],
)
def test_download_is_kept_only_if_it_is_what_its_name_says(name, known, server, cache):
    right, wrong = name.format(known), name.format(known[::-1])
    with pytest.raises(ValueError, match=f"than its name says.*delete {re.escape(str(cache))}"):
        local_file(f"{server}/{wrong}")
    assert local_file(f"{server}/{right}") == str(cache / right)
    assert (cache / right).read_bytes() == CONTENT
    # A file that somebody has put there is checked as well.
    (cache / right).write_bytes(b"else")
    with pytest.raises(ValueError, match=f"delete {re.escape(str(cache / right))} to download"):
        local_file(f"{server}/{right}")


def test_address_cannot_leave_the_cache(server, cache, tmp_path):
    for address in (f"{server}/../../.bash_profile", "detectron2://../../x"):
        with pytest.raises(ValueError, match="outside of the cache"):
            local_file(address)
    assert list(tmp_path.iterdir()) == []


def test_incomplete_download_is_not_kept(server, cache):
    with pytest.raises(OSError, match=rf"7 out of 8 bytes.*put it at {cache}/cut.pth by hand"):
        local_file(f"{server}/cut.pth")
    assert not (cache / "cut.pth").exists()
