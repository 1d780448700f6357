"""A real browser for the tests: headless Chromium, spoken to by the DevTools protocol over a pair
of pipes (``--remote-debugging-pipe``: JSON messages that end in a NUL), so no port is opened and
no package is needed. A page may forbid scripts: what is evaluated here comes from outside of it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60.0


def find_browser() -> str | None:
    """The first of the usual names that is on the path."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a running browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = to_browser, from_browser
        self._number, self._rest = 0, b""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    _session: str | None = None

    def open(self, page: Path, width: int, height: int, *, theme: str, media: str = "") -> None:
        """Show a file at this width, in the light or the dark theme."""
        self.requests.clear()
        self.errors.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": theme}
        self._call("Emulation.setEmulatedMedia", media=media, features=[feature])
        self._loaded = False
        self._call("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._hear(self._message())

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def picture(self, path: Path) -> bytes:
        """The whole page as a PNG, kept under ``path`` too."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(data["data"]))
        return path.read_bytes()

    def pdf(self, path: Path) -> bytes:
        """The page as it prints."""
        data = self._call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(data["data"]))
        return path.read_bytes()

    # ---------------------------------------------------------------------- the protocol

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._hear(answer)

    def _hear(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])
            case "Log.entryAdded":
                self.errors.append(event["params"]["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded = True

    def _message(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser went away"
            self._rest += piece
        found, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(found)
        return message


_AT_3_AND_4 = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipes where the protocol has them, and becomes the browser."""


@contextmanager
def start(program: str, profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended at the end."""
    reads, to_browser = os.pipe()
    from_browser, writes = os.pipe()
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--no-first-run",
        "--disable-gpu",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", _AT_3_AND_4, str(reads), str(writes), program, *flags],
        pass_fds=(reads, writes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(reads)
        os.close(writes)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            # Its parent's end of the pipe is what keeps it alive: closing it ends all of it.
            os.close(to_browser)
            os.close(from_browser)
            try:
                process.wait(_PATIENCE / 6)
            except subprocess.TimeoutExpired:
                process.kill()
