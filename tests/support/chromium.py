"""A real browser for tests of pages: Chromium without a window, driven by its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# The browser reads commands from file 3 and writes answers to file 4.
_START = """
import os, sys
read, write = (os.dup(int(number)) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
for number in (3, 4):
    os.set_inheritable(number, True)  # a copy onto itself is not
os.execv(sys.argv[3], sys.argv[3:])
"""

_PATIENCE = 90.0

_KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def find() -> str | None:
    """The browser's program: what MLA_CHROMIUM names, else one on the path; None if there is none."""
    named = os.environ.get("MLA_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page in one browser.

    Attributes:
      events: what the browser told of itself, as (method, params): requests, messages, exceptions.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._numbers = itertools.count(1)
        self._session = ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if "method" in answer:
                self.events.append((answer["method"], answer.get("params", {})))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE)
            assert ready, f"the browser has said nothing for {_PATIENCE} seconds"
            read = os.read(self._from, 1 << 16)
            assert read, "the browser is gone"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Loads a file in a window of so many CSS pixels, and waits until all of it is there."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.load(path)
        self.run("Promise.all(Array.from(document.images, (i) => i.decode())).then(() => true)")

    def load(self, path: Path) -> None:
        """Goes to a file, and waits until the browser says that it is loaded."""
        self.events.clear()
        self.send("Page.navigate", url=path.absolute().as_uri())
        while not any(name == "Page.loadEventFired" for name, _ in self.events):
            answer = self._receive()
            self.events.append((answer["method"], answer.get("params", {})))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        got = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key and lets it go: Tab, Enter, space, or a character."""
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        about = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0].upper()))}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        for character in text:
            self.press(character)

    def screenshot(self, path: Path, width: int) -> None:
        """The whole page, below the window's edge too, as a PNG file."""
        height = self.run("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 16000), "scale": 1}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser(program: str) -> Iterator[Page]:
    """Starts a browser with a fresh profile; ends it, and removes the profile."""
    into_read, into_write = os.pipe()
    out_read, out_write = os.pipe()
    profile = tempfile.mkdtemp(prefix="mla_jax-browser-")

    process = subprocess.Popen(
        [
            *(sys.executable, "-S", "-c", _START, str(into_read), str(out_write), program),
            "--headless",
            "--no-sandbox",  # containers run tests as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(into_read, out_write),
    )
    for end in (into_read, out_write):
        os.close(end)
    try:
        yield Page(into_write, out_read)
    finally:
        process.kill()
        process.wait()
        for end in (into_write, out_read):
            os.close(end)
        shutil.rmtree(profile, ignore_errors=True)
