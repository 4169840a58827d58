"""A receiver for what the service sends: a process that keeps all bodies, and shows them to GET."""

import base64
import contextlib
import gzip
import http.server
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


class Sink(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted."""

    kept: list[dict[str, str]] = []  # noqa: RUF012 - for all requests

    def do_POST(self) -> None:
        """Keep a body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        text = base64.b64encode(body).decode()
        self.kept.append({"path": self.path, "body": text})
        self._respond(b"{}")

    def do_GET(self) -> None:
        """Show all that was kept."""
        self._respond(json.dumps(self.kept).encode())

    def _respond(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def receiving() -> Iterator[str]:
    """Run a receiver, in a process of its own, and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.sink"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout
            port = int(process.stdout.readline())
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def sink() -> Iterator[str]:
    """Run a receiver for one test and yield its address."""
    with receiving() as address:
        yield address


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()
