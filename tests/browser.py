"""Drives a real, headless Chromium through its DevTools pipe; nothing but Python is needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT = 60.0


def find_chromium() -> str | None:
    """The program; Ubuntu's script of that name, which asks to install a snap, has no version."""
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    return None


class Page:
    """One tab."""

    def __init__(self, to_browser: int, from_browser: int):
        self._to, self._from = to_browser, from_browser
        self._count, self._rest, self._session = 0, b"", None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and waits for its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._from, 1 << 16)
            assert piece, "Chromium has ended"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, address: str, *, width: int, height: int) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of a JavaScript expression as soon as it is truthy."""
        end = time.monotonic() + TIMEOUT
        while not (value := self.evaluate(expression)):
            text = self.evaluate("document.body.innerText")
            assert time.monotonic() < end, f"{expression} stays false; the page says: {text}"
            time.sleep(0.1)
        return value

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def click_at(self, selector: str, share: float) -> None:
        """Click at a share of an element's width."""
        place = f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()"
        box = self.evaluate(place)
        x, y = box["x"] + share * box["width"], box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key in the element that has the focus."""
        codes = {"code": key, "windowsVirtualKeyCode": {"ArrowRight": 39, "Enter": 13}[key]}
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **codes)

    def type_into(self, selector: str, text: str) -> None:
        """Replace the content of a text field."""
        self.evaluate(f"(e => {{ e.focus(); e.select() }})(document.querySelector({selector!r}))")
        self.call("Input.insertText", text=text)
        self.press("Enter")


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Starts the browser with its own profile folder and ends it."""
    child_in, to_browser = os.pipe()
    from_browser, child_out = os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4. The copies are above
    # both, so that neither is overwritten before it is copied.
    high_in, high_out = (os.dup2(fd, place) for fd, place in ((child_in, 203), (child_out, 204)))
    actions = [(os.POSIX_SPAWN_DUP2, high_in, 3), (os.POSIX_SPAWN_DUP2, high_out, 4)]
    program = find_chromium()
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    command = [program, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    process = os.posix_spawn(program, command, os.environ, file_actions=actions)
    for descriptor in (child_in, child_out, high_in, high_out):
        os.close(descriptor)
    page = Page(to_browser, from_browser)
    try:
        yield page
        page._session = None
        page.call("Browser.close")
    finally:
        os.close(to_browser)
        os.close(from_browser)
        os.waitpid(process, 0)
