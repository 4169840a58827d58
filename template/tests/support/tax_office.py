"""A tax office that registers receipts: `python -m tests.support.tax_office PORT FILE`.

`POST /receipts` registers one, the same for the same key. `PUT /mode` says how from now on:

- `ok`;
- `error`: 500; `unavailable`: 503; `refused`: 422;
- `slow`: takes too long and registers nothing; `late`: registers, and then takes too long;
- `drip`: registers, and then sends a byte every tenth of a second; `endless`: never stops sending;
- anything else: registers, and sends this as the body.

What is registered stands in FILE, a line each, and survives a kill.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOO_LONG = 2.0  # seconds
STATUSES = {"error": 500, "slow": 500, "unavailable": 503, "refused": 422}
CHUNK = b" " * 65_536


class Office:
    """What a tax office remembers."""

    def __init__(self, file: Path) -> None:
        self.mode = "ok"
        self._lock = threading.Lock()
        self._numbers: dict[str, str] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                key, number = line.split()[:2]
                self._numbers[key] = number
        self._book = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def register(self, key: str, correlation_id: str) -> str:
        """Return the number of a receipt, a new one for a new key."""
        with self._lock:
            if key not in self._numbers:
                number = f"R{len(self._numbers) + 1}"
                self._numbers[key] = number
                os.write(self._book, f"{key} {number} {correlation_id}\n".encode())
            return self._numbers[key]


class Clerk(BaseHTTPRequestHandler):
    """Serves one client."""

    protocol_version = "HTTP/1.1"
    office: Office
    closing = threading.Event()

    def do_GET(self) -> None:
        self._respond(200, b"{}")

    def do_PUT(self) -> None:
        self.office.mode = self._read_body()
        self._respond(200, b"{}")

    def do_POST(self) -> None:
        self._read_body()
        mode = self.office.mode
        if mode == "slow":
            self.closing.wait(TOO_LONG)
        if mode in STATUSES:
            self._respond(STATUSES[mode], b"{}")
            return
        number = self.office.register(self.headers["Idempotency-Key"], self.headers["X-Request-ID"])
        body = json.dumps({"registration": number}).encode()
        if mode == "late":
            self.closing.wait(TOO_LONG)
        if mode == "drip":
            self._drip(body)
        elif mode == "endless":
            self._send_endlessly()
        elif mode in ("ok", "late"):
            self._respond(201, body)
        else:
            self._respond(201, mode.encode())

    def _read_body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def _respond(self, status: int, body: bytes) -> None:
        self.wfile.write(
            b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
        )

    def _drip(self, body: bytes) -> None:
        body = body.ljust(100)
        self.wfile.write(b"HTTP/1.1 201 -\r\nContent-Length: %d\r\n\r\n" % len(body))
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.closing.wait(0.1)

    def _send_endlessly(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 201 -\r\n\r\n")
        while True:
            self.wfile.write(CHUNK)


class Server(ThreadingHTTPServer):
    """Serves each client in a thread, and ignores that some leave."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it."""


if __name__ == "__main__":
    Clerk.office = Office(Path(sys.argv[2]))
    with Server(("127.0.0.1", int(sys.argv[1])), Clerk) as server:
        os.write(1, b"open\n")
        server.serve_forever()
