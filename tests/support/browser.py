"""A headless Chromium, driven through its DevTools protocol."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "chromium is not on PATH; `apt-get install --no-install-recommends chromium` brings it"
QUIET = [
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Tab:
    """A page in the browser.

    Args:
        socket: leads to its DevTools.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._calls = socket, 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Log", "Network", "Page", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != self._calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Load a page."""
        before = len(self.events)
        self.call("Page.navigate", url=url)
        while not any(told["method"] == "Page.loadEventFired" for told in self.events[before:]):
            self.events.append(json.loads(self._socket.recv(timeout=60)))

    def run(self, script: str) -> Any:
        """Return what an expression of JavaScript comes to; a promise is awaited."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, condition: str) -> Any:
        """Return what an expression comes to as soon as a change of the page makes it something."""
        watch = "new MutationObserver(look).observe(document, {subtree: true, childList: true, characterData: true})"
        look = f"const look = () => {{ const found = {condition}; found && done(found) }}"
        return self.run(f"new Promise(done => {{ {look}; {watch}; look() }})")

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return what was told by all events of a kind so far."""
        return [told["params"] for told in self.events if told["method"] == event]


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Tab]:
    """Run a browser with an empty profile until the end of the block."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        sys.exit(MISSING)
    command = [
        program,
        "--headless=new",
        "--no-sandbox",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    ]
    with subprocess.Popen(
        [*command, *QUIET, *options], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            told = (line.partition("DevTools listening on ws://")[2] for line in process.stderr)
            address = next(filter(None, told)).partition("/")[0]
            with urlopen(
                Request(f"http://{address}/json/new?about:blank", method="PUT"), timeout=60
            ) as answer:
                url = json.load(answer)["webSocketDebuggerUrl"]
            with connect(url, max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.communicate()
