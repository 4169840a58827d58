"""A headless Chromium, driven through its DevTools protocol."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

Event = dict[str, Any]

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
)
MISSING = "chromium is not on PATH; `apt-get install --no-install-recommends chromium` brings it"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LISTENING = "DevTools listening on ws://"
DOMAINS = (
    "Log",
    "Network",
    "Page",
    "Runtime",
)
TIMEOUT = 60  # seconds
UNTIL = """
    new Promise(resolve => {
        const check = () => {
            const value = CONDITION;
            if (value) resolve(value);
        };
        const changes = {subtree: true, childList: true, characterData: true};
        new MutationObserver(check).observe(document, changes);
        check();
    })
"""


class Tab:
    """A page in the browser.

    Args:
        socket: the connection to its DevTools.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0
        self.events: list[Event] = []
        for domain in DOMAINS:
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": params}
        self._socket.send(json.dumps(call))
        message = self._receive()
        while message.get("id") != self._calls:
            self.events.append(message)
            message = self._receive()
        assert "error" not in message, message
        return message["result"]

    def _receive(self) -> Event:
        message: Event = json.loads(self._socket.recv(timeout=TIMEOUT))
        return message

    def open(self, url: str) -> None:
        """Load a page."""
        before = len(self.events)
        self.call("Page.navigate", url=url)
        while not has_loaded(self.events[before:]):
            self.events.append(self._receive())

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript; a promise is awaited."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, condition: str) -> Any:
        """Return the value of an expression as soon as a change of the page makes it true."""
        return self.run(UNTIL.replace("CONDITION", condition))

    def params(self, method: str) -> list[Event]:
        """Return the parameters of all events of a kind so far."""
        return [event["params"] for event in self.events if event["method"] == method]


def has_loaded(events: list[Event]) -> bool:
    """Return whether a page was loaded."""
    return any(event["method"] == "Page.loadEventFired" for event in events)


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Tab]:
    """Run a browser with an empty profile until the end of the block."""
    programs = [path for path in map(shutil.which, NAMES) if path]
    if not programs:
        sys.exit(MISSING)
    command = [programs[0], *OPTIONS, *options, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            address = listening_address(process.stderr)
            with connect(open_tab(address), max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.communicate()


def listening_address(log: Iterable[str]) -> str:
    """Return the address of the DevTools, which the browser prints when it has started."""
    for line in log:
        if LISTENING in line:
            return line.partition(LISTENING)[2].partition("/")[0]
    raise RuntimeError("the browser ended before it listened")


def open_tab(address: str) -> str:
    """Open a tab, and return the URL of its DevTools."""
    request = Request(f"http://{address}/json/new?about:blank", method="PUT")
    with urlopen(request, timeout=TIMEOUT) as response:
        url: str = json.load(response)["webSocketDebuggerUrl"]
        return url
