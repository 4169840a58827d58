"""The proxy of `deploy/proxy/` passes on what is in order, and spares the service the rest."""

import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.observers import running
from tests.support.services import free_port, wait_until
from tests.support.template import Answers, Render, render_into

HOST = "api.example.com"
PROBLEM: Answers = {"example": "none", "stores": []}
MESSAGE: Answers = {"example": "none", "stores": [], "error_format": "message"}


class Proxied:
    """A service behind nginx.

    Args:
        port: of nginx.
        service_port: of the service.
    """

    def __init__(self, port: int, service_port: int) -> None:
        self.port = port
        self.service_port = service_port
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Send a request to the proxy."""
        return httpx2.get(f"{self.url}{path}", headers={"Host": HOST} | headers)

    def connect(self, sent: bytes) -> socket.socket:
        """Open a connection to the proxy, and send something."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client.sendall(sent)
        return client


def nginx(folder: Path, prefix: Path, ports: Proxied) -> list[str]:
    """Return the command that runs nginx as a service's folder says, on ports that are free."""
    text = (folder / "deploy/proxy/nginx.conf").read_text(encoding="utf-8")
    for right, here in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{ports.service_port};"),
        ("listen 80 default_server;", f"listen 127.0.0.1:{ports.port} default_server;"),
        ("listen 80;", f"listen 127.0.0.1:{ports.port};"),
        ("_timeout 10s;", "_timeout 1s;"),
    ):
        assert right in text
        text = text.replace(right, here)
    configuration = prefix / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    options = f"daemon off; master_process off; pid {prefix}/pid; error_log {prefix}/error.log;"
    return ["nginx", "-p", str(prefix), "-c", str(configuration), "-g", options]


def is_served(ports: Proxied) -> bool:
    """Return whether the service answers through the proxy."""
    try:
        return ports.get("/health/live").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def proxied(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A service that reports problems, behind nginx."""
    folder = tmp_path_factory.mktemp("proxied") / "service"
    render_into(folder, snapshot, PROBLEM)
    ports = Proxied(free_port(), free_port())
    proxy = nginx(folder, tmp_path_factory.mktemp("nginx"), ports)
    service = [sys.executable, "-m", "src.main"]
    with running(folder, service, proxy, PORT=str(ports.service_port)):
        wait_until(lambda: is_served(ports))
        yield ports


pytestmark = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


def read_all(client: socket.socket) -> bytes:
    """Read until the other side closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65_536):
            received += part
    return received


def test_id_of_a_client_is_that_of_the_service(proxied: Proxied) -> None:
    """An id that is valid passes, another one is replaced once for both."""
    assert proxied.get("/health/live", **{"X-Request-ID": "abc"}).headers["x-request-id"] == "abc"
    replaced = proxied.get("/nowhere", **{"X-Request-ID": "a b"})
    assert replaced.status_code == 404
    assert replaced.json()["correlation_id"] == replaced.headers["x-request-id"] != "a b"


def test_metrics_stay_inside(proxied: Proxied) -> None:
    """Prometheus reads the service itself; through the proxy the path is unknown."""
    response = proxied.get("/metrics")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] == "Not Found"
    assert response.json()["correlation_id"] == response.headers["x-request-id"]
    assert httpx2.get(f"http://127.0.0.1:{proxied.service_port}/metrics").status_code == 200


def test_unknown_name_gets_no_response(proxied: Proxied) -> None:
    """A request for another host is dropped."""
    with proxied.connect(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n") as client:
        assert read_all(client) == b""


def test_large_body_is_refused_in_the_usual_form(proxied: Proxied) -> None:
    """Up to 2 MB the service says no, beyond that nginx does."""
    for size in (1_500_000, 3_000_000):
        response = httpx2.post(
            f"{proxied.url}/health/live", content=b"x" * size, headers={"Host": HOST}
        )
        assert response.status_code == 413
        assert response.json()["status"] == 413
        assert response.json()["correlation_id"] == response.headers["x-request-id"]


def test_slow_client_does_not_reach_the_service(proxied: Proxied) -> None:
    """A body that does not arrive ends at nginx."""
    head = f"POST /health/live HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n"
    with proxied.connect(head.encode()) as client:
        received = read_all(client)
    assert received == b"" or b" 408 " in received.splitlines()[0]


def test_connections_of_one_client_are_limited(proxied: Proxied) -> None:
    """The one that opens too many gets a 429, in the usual form."""
    head = f"POST /health/live HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n"
    clients = [proxied.connect(head.encode()) for _ in range(60)]
    received = [read_all(client) for client in clients]
    for client in clients:
        client.close()
    refused = [part for part in received if part.startswith(b"HTTP/1.1 429 ")]
    assert refused
    body = json.loads(refused[0].partition(b"\r\n\r\n")[2])
    assert body["title"] == "Too Many Requests"


def test_service_that_is_gone_is_an_error_in_the_usual_form(render: Render, tmp_path: Path) -> None:
    """Where the service does not answer nginx does, here in the other form."""
    folder = render(**MESSAGE)
    ports = Proxied(free_port(), free_port())
    with running(folder, nginx(folder, tmp_path, ports)):
        wait_until(lambda: is_listening(ports.port))
        response = ports.get("/health/live")
    assert response.status_code == 502
    assert response.json() == {"message": "Bad Gateway"}


def is_listening(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
