"""A tax office: `python -m tests.support.tax_office PORT FILE` registers receipts, and fails when it is told to.

`POST /receipts` registers one, once for each key. `PUT /mode` says how it goes from now on: `ok`; `error`, 500;
`refused`, 422; `slow`, which takes too long and registers nothing; `late`, which registers and then takes too long;
`nonsense`, an answer that cannot be read. What is registered stands in FILE, a line each, and survives a kill.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOO_LONG = 2.0  # seconds


class Office:
    """What a tax office remembers."""

    def __init__(self, file: Path) -> None:
        self.mode, self._lock, self._numbers = "ok", threading.Lock(), dict[str, str]()
        for line in file.read_text().splitlines() if file.exists() else ():
            self._numbers[line.split()[0]] = line.split()[1]
        self._book = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def register(self, key: str, correlation_id: str) -> str:
        """Return the number of a receipt, a new one for a new key."""
        with self._lock:
            if key not in self._numbers:
                self._numbers[key] = f"R{len(self._numbers) + 1}"
                os.write(self._book, f"{key} {self._numbers[key]} {correlation_id}\n".encode())
            return self._numbers[key]


class Clerk(BaseHTTPRequestHandler):
    """Answers one client."""

    protocol_version = "HTTP/1.1"
    office: Office
    closing = threading.Event()

    def do_GET(self) -> None:
        self._answer(200, "{}")

    def do_PUT(self) -> None:
        self.office.mode = self._body()
        self._answer(200, "{}")

    def do_POST(self) -> None:
        self._body()
        key, mode = self.headers["Idempotency-Key"], self.office.mode
        if mode == "slow":
            self.closing.wait(TOO_LONG)
        if mode in ("slow", "error"):
            return self._answer(500, "{}")
        if mode == "refused":
            return self._answer(422, "{}")
        registration = json.dumps(
            {"registration": self.office.register(key, self.headers["X-Request-ID"])}
        )
        if mode == "late":
            self.closing.wait(TOO_LONG)
        return self._answer(201, registration if mode != "nonsense" else "<html>")

    def _body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def _answer(self, status: int, body: str) -> None:
        self.wfile.write(
            f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )


class Server(ThreadingHTTPServer):
    """Serves each client in a thread, and does not mind those that leave."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Clerk.office = Office(Path(sys.argv[2]))
    with Server(("127.0.0.1", int(sys.argv[1])), Clerk) as server:
        os.write(1, b"open\n")
        server.serve_forever()
