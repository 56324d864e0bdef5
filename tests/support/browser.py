"""A headless Chromium, driven over the pipe of its DevTools protocol: no port, no library, no network.

It is Debian's `chromium-headless-shell`, which scripts/setup-browser installs, or what DSPEX_TEST_BROWSER
names. The sandbox is off, since tests may run as root in a container; the pages are our own.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

Show = Callable[[str], str]
"""Puts a page where the browser finds it, and says at which address."""

NAMES: Final = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
PATIENCE_S: Final = 120.0
"""A machine that is shared may be slow; nothing is waited for longer than it takes."""

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


class BrowserError(AssertionError):
    """It refused, or did not answer in time."""


class Browser:
    """One process of it; pages are opened in it, each in a context of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="dspex-browser-")
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The protocol is on descriptors 3 and 4; the shell is what puts them there.
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._log = os.open(Path(self._folder, "log"), os.O_WRONLY | os.O_CREAT)
        self._process = subprocess.Popen(
            ["bash", "-c", command, path(), *FLAGS, f"--user-data-dir={self._folder}/profile", "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(to_read)
        os.close(to_write)
        self._unread = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End it and remove what it wrote."""
        try:
            self.call("Browser.close")
            self._process.wait(20)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        os.close(self._log)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask for something; what happens meanwhile goes to `events`."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._send(json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            came = self._next(deadline)
            if came.get("id") == number:
                if "error" in came:
                    raise BrowserError(f"{method}: {came['error']}")
                return dict(came["result"])
            self.events.append(came)

    def drain(self) -> None:
        """Take in what has happened until now."""
        self.call("Browser.getVersion")

    def _send(self, message: bytes) -> None:
        while message:
            message = message[os.write(self._write, message) :]

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                log = Path(self._folder, "log").read_text(errors="replace")[-2_000:]
                raise BrowserError(f"the browser {'has gone' if ready else 'does not answer'}: {log}")
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))


class Page:
    """A page, and what it did.

    Attributes:
        requests: Addresses that it asked for, its own too, by the browser's names for them.
        refused: Those of them that its policy kept from being sent.
        problems: Errors and warnings on the console, exceptions, and what its policy forbade.
    """

    def __init__(self, browser: Browser, *, width: int, height: int, dark: bool) -> None:
        self._browser = browser
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)
        attached = browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.requests: dict[str, str] = {}
        self.refused: set[str] = set()
        self.problems: list[str] = []

    def close(self) -> None:
        """Forget it."""
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something of the page."""
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        """Give its window another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, address: str) -> None:
        """Load an address, and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(address)}")

    def open_without_scripts(self, address: str) -> None:
        """The same for a page whose scripts are off; what `run` is given runs all the same."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.querySelector('footer') && location.href === {json.dumps(address)}")

    def run(self, script: str) -> Any:
        """What an expression is worth; promises are awaited."""
        came = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in came:
            raise BrowserError(str(came["exceptionDetails"]))
        return came["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"never: {condition}")
            time.sleep(0.02)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key of the keyboard."""
        told: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def look(self) -> None:
        """Bring `requests` and `problems` up to date."""
        self._browser.drain()
        for event in self._browser.events:
            if event.get("sessionId") == self._session:
                self._take(event["method"], event["params"])
        self._browser.events.clear()

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save a picture of it."""
        taken = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole)
        )
        path.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self) -> bytes:
        """What a printer would get."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {
            "clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        }

    def _take(self, method: str, told: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests[told["requestId"]] = told["request"]["url"]
            case "Network.webSocketCreated":
                self.requests[told["requestId"]] = told["url"]
            case "Network.loadingFailed" if told.get("blockedReason") == "csp":
                self.refused.add(told["requestId"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.problems.append(f"console: {told['args']}")
            case "Runtime.exceptionThrown":
                self.problems.append(f"exception: {told['exceptionDetails']}")
            case "Log.entryAdded":
                self.problems.append(f"log: {told['entry']['text']}")
            case "Audits.issueAdded":
                self.problems.append(f"issue: {told['issue']['code']} {told['issue']['details']}")
            case "Page.javascriptDialogOpening":
                self.problems.append(f"dialog: {told['message']}")
            case _:
                pass


@contextmanager
def page_of(browser: Browser, *, width: int = 1280, height: int = 900, dark: bool = False) -> Generator[Page]:
    """A page, closed at the end."""
    page = Page(browser, width=width, height=height, dark=dark)
    try:
        yield page
    finally:
        page.close()


def path() -> str:
    """Where the browser is.

    Raises:
        BrowserError: where it is nowhere.
    """
    named = os.environ.get("DSPEX_TEST_BROWSER")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserError("no browser; scripts/setup-browser (of `make setup`) installs one")
    return found
