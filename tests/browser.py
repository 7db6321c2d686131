"""Drives a real, headless Chromium through its DevTools pipe; nothing but Python is needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
TIMEOUT = 60.0


def find_chromium() -> str | None:
    """Return the program; Ubuntu's script of that name, which wants a snap, has no version."""
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    return None


class Page:
    """One tab."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO):
        self._to, self._from = to_browser, from_browser
        self._count, self._session = 0, {}

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and wait for its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        self._to.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while not message.endswith(b"\0"):
            byte = self._from.read(1)
            assert byte, "Chromium has ended"
            message += byte
        return json.loads(message[:-1])

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        screen = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is truthy."""
        end = time.monotonic() + TIMEOUT
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} stays false"
            time.sleep(0.1)

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
        code, text = {"ArrowRight": (39, ""), "Enter": (13, "\r")}[key]
        codes = {"code": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **codes)

    def type_into(self, selector: str, text: str) -> None:
        """Replace the content of a text field."""
        self.evaluate(f"(e => {{ e.focus(); e.select() }})(document.querySelector({selector!r}))")
        self.call("Input.insertText", text=text)
        self.press("Enter")


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Start the browser with its own profile folder and end it."""
    (child_in, to_browser), (from_browser, child_out) = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    shell = f'exec "$@" 3<&{child_in} 4>&{child_out}'
    command = [find_chromium(), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    browser = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(child_in, child_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(child_in)
    os.close(child_out)
    try:
        # It ends when its pipe does.
        with open(to_browser, "wb", buffering=0) as commands, open(from_browser, "rb") as answers:
            yield Page(commands, answers)
    finally:
        browser.wait(timeout=TIMEOUT)
