"""A headless Chromium, driven by chromedriver in the W3C protocol with nothing but the standard library."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = "expected chromium and chromedriver, found none: install Debian's chromium and chromium-driver"
ENTER, SPACE, LEFT, RIGHT, UP, DOWN = "\ue007", "\ue00d", "\ue012", "\ue014", "\ue013", "\ue015"
TAB = "\ue004"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """One session of the driver."""

    def __init__(self, port: int, profile: Path, *options: str) -> None:
        chrome = {"binary": CHROMIUM, "args": [*_OPTIONS, f"--user-data-dir={profile}", *options]}
        capabilities = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        self._root = f"http://127.0.0.1:{port}"
        value = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._root += f"/session/{value['sessionId']}"

    def _call(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Shows a file in a window of the given size, whatever window the system would allow."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def devtools(self, command: str, **parameters):
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str, *arguments):
        """The value of a JavaScript function's body."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float) -> None:
        """Until the body of a JavaScript function is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"expected within {seconds} s: {script}"
            time.sleep(0.2)

    def text(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector)

    def click(self, selector: str) -> None:
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, selector: str, keys: str) -> None:
        """Focuses the element and types."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": keys})

    def drag(self, selector: str, start: float, end: float) -> None:
        """From one place of an element's width to another (0..1), as a finger or a mouse would."""
        box = self.run(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.x, b.y, b.width, "
            "b.height]",
            selector,
        )
        y = round(box[1] + box[3] / 2)
        places = [round(box[0] + share * box[2]) for share in (start, end)]
        actions = [{"type": "pointerMove", "x": places[0], "y": y}, {"type": "pointerDown", "button": 0},
                   {"type": "pointerMove", "x": places[1], "y": y, "duration": 50},
                   {"type": "pointerUp", "button": 0}]  # fmt: skip
        self.act([{"type": "pointer", "id": "mouse", "actions": actions}])

    def act(self, sources: list[dict]) -> None:
        """Actions of pointers or keys, in the protocol's own words."""
        self._call("POST", "/actions", {"actions": sources})

    def errors(self) -> list[str]:
        """What the console has been told since the last call, but for mere information."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        picture = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _find(self, selector: str) -> str:
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]

    def quit(self) -> None:
        self._call("DELETE", "")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in ``folder``; both processes end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        session = _session(port, folder)
        try:
            yield session
        finally:
            session.quit()
    finally:
        driver.terminate()
        driver.wait(20)


def _session(port: int, folder: Path) -> Browser:
    end = time.monotonic() + 60
    while True:
        try:
            return Browser(port, folder / "profile")
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
