"""One client cannot take the memory, the connections or the time of all others."""

import contextlib
import json
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.service import (
    FAULTY,
    Service,
    access,
    copy_with,
    failures,
    levels_and_errors,
    running,
)

CONNECTIONS = 20
SETTINGS = {
    "LIMIT_CONCURRENCY": str(CONNECTIONS),
    "HEADER_TIMEOUT": "1",
    "BODY_TIMEOUT": "1",
    "MAX_BODY_SIZE": "1000000",
}
GET = b"GET /health/live HTTP/1.1\r\nHost: a\r\n"
PART_OF_BODY = b"POST /body/raw HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n{"
TIMEOUT = 30.0  # seconds
GRACE_PERIOD = 20.0  # seconds, after which Docker and others kill a service


def serve(app: str, limits: str = "", **options: int) -> str:
    """Return code that serves an application with limits, and with options of uvicorn."""
    return (
        "import uvicorn; from src.airtight.server import Limits, limited_http; "
        f"uvicorn.run({app!r}, port=PORT, http=limited_http(Limits({limits})),"
        f" log_config=None, access_log=False, **{options})"
    )


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Run the service with limits that are reached soon."""
    with running(env=SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def limited_faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with routes that take long, and with the same limits."""
    folder = copy_with(FAULTY, tmp_path_factory.mktemp("limited"))
    start = serve("src.faulty:app", f"{CONNECTIONS}, 1, 1")
    with running("-c", start, cwd=folder) as started:
        started.client.close()  # a connection that it holds would be the first to make room
        yield started


@pytest.fixture(scope="module")
def impatient() -> Iterator[Service]:
    """Run the service with a server that closes idle connections soon."""
    with running("-c", serve("src.main:app", timeout_keep_alive=1)) as started:
        yield started


@contextlib.contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    """Open a connection to the service."""
    with socket.create_connection(("127.0.0.1", service.client.base_url.port)) as client:
        client.settimeout(TIMEOUT)
        yield client


def read_all(client: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65_536):
            received += part
    return received


def assert_refused(service: Service, response: bytes, status: int, error: str) -> None:
    """Assert that a response is an error in the usual form, with one record and one line."""
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert lines[0].split()[1] == str(status)
    assert headers["connection"] == "close"
    assert json.loads(body)
    correlation_id = headers["x-request-id"]
    service.wait(lambda records: access(records, correlation_id))
    records = service.records(correlation_id)
    assert levels_and_errors(records) == [("WARNING", error)]
    assert [record["status"] for record in access(records, correlation_id)] == [status]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"A: b\r\n" * 8_000, id="size"),
        pytest.param(b"A: b\r\n" * 150 + b"\r\n", id="number"),
        pytest.param(b"A: " + b"b" * 40_000, id="one"),
    ],
)
def test_headers_are_bounded(service: Service, headers: bytes) -> None:
    """Headers without end are refused while they arrive, as are too many."""
    with connection(service) as client:
        client.sendall(GET + headers)
        assert_refused(service, read_all(client), 431, "HeadersTooLargeError")


def test_request_line_is_bounded(service: Service) -> None:
    """A URL without end is refused like headers."""
    with connection(service) as client:
        client.sendall(b"GET /" + b"a" * 40_000)
        assert_refused(service, read_all(client), 431, "HeadersTooLargeError")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", GET + b"no colon\r\n\r\n"])
def test_what_is_not_http_is_refused_in_the_usual_form(service: Service, sent: bytes) -> None:
    """A client that speaks something else gets an error with an id."""
    with connection(service) as client:
        client.sendall(sent)
        assert_refused(service, read_all(client), 400, "InvalidHTTPError")


def test_headers_have_to_arrive_in_time(service: Service) -> None:
    """A request whose headers do not end is refused."""
    with connection(service) as client:
        client.sendall(GET)
        assert_refused(service, read_all(client), 408, "RequestTimeoutError")


def test_connection_without_a_request_is_closed(service: Service) -> None:
    """A client that connects and says nothing is no failure, but does not stay."""
    before = len(failures(service.records()))
    with connection(service) as client:
        assert read_all(client) == b""
    assert len(failures(service.records())) == before


def test_idle_connection_is_closed(impatient: Service) -> None:
    """After a response, a connection without another request is closed by uvicorn's option."""
    with connection(impatient) as client:
        client.sendall((GET + b"\r\n") * 2)
        assert read_all(client).count(b"HTTP/1.1 200 ") == 2


def test_body_has_to_arrive_in_time(limited_faulty: Service) -> None:
    """A body that does not go on is refused."""
    with connection(limited_faulty) as client:
        client.sendall(PART_OF_BODY)
        assert_refused(limited_faulty, read_all(client), 408, "RequestTimeoutError")


def test_body_that_nobody_reads_ends_with_the_connection(impatient: Service) -> None:
    """A response does not wait for a body that is not needed, nor does the connection."""
    with connection(impatient) as client:
        client.sendall(GET.replace(b"GET", b"PUT") + b"Content-Length: 10\r\n\r\n{")
        assert read_all(client).startswith(b"HTTP/1.1 405 ")


def test_slow_bodies_make_room_for_others(limited_faulty: Service) -> None:
    """At the limit of connections the body that takes longest is refused."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CONNECTIONS + 1):
            client = stack.enter_context(connection(limited_faulty))
            client.sendall(PART_OF_BODY)
            clients.append(client)
        assert_refused(limited_faulty, read_all(clients[0]), 408, "RequestTimeoutError")
        with connection(limited_faulty) as another:
            another.sendall(GET + b"Connection: close\r\n\r\n")
            assert read_all(another).startswith(b"HTTP/1.1 200 ")


def test_new_connection_is_not_closed_for_others(limited_faulty: Service) -> None:
    """Where bodies are slow, a connection whose request may be on its way is left alone."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CONNECTIONS - 1):
            client = stack.enter_context(connection(limited_faulty))
            client.sendall(PART_OF_BODY)
            clients.append(client)
        fresh = stack.enter_context(connection(limited_faulty))
        stack.enter_context(connection(limited_faulty))
        assert_refused(limited_faulty, read_all(clients[0]), 408, "RequestTimeoutError")
        fresh.sendall(GET + b"Connection: close\r\n\r\n")
        assert read_all(fresh).startswith(b"HTTP/1.1 200 ")


def test_busy_connections_are_not_closed_for_others(limited_faulty: Service) -> None:
    """Where each connection is served, one more gets a 503; probes are answered."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(connection(limited_faulty))
            client.sendall(b"GET /stream/endless HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1_000).startswith(b"HTTP/1.1 200 ")
        with connection(limited_faulty) as another:
            another.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert_refused(limited_faulty, read_all(another), 503, "OverloadedError")
        with connection(limited_faulty) as probe:
            probe.sendall(GET + b"Connection: close\r\n\r\n")
            assert read_all(probe).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    """More requests than are held at a time are all answered."""
    count = 300
    requests = [GET + b"X-Request-ID: %d\r\n\r\n" % number for number in range(count)]
    with connection(service) as client:
        client.sendall(b"".join(requests))
        responses = b""
        while responses.count(b"HTTP/1.1 200 OK") < count or not responses.endswith(b"}"):
            part = client.recv(65_536)
            assert part
            responses += part
    ids = [line for line in responses.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == [b"x-request-id: %d" % number for number in range(count)]


def test_pipelined_requests_are_bounded(service: Service) -> None:
    """A client that sends requests and reads no response has to stop sending."""
    requests = (GET.replace(b"/health/live", b"/openapi.json") + b"\r\n") * 2_000
    sent = 0
    with connection(service) as client:
        client.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < 50_000_000:
                sent += client.send(requests)
        assert sent < 20_000_000  # what the system's own buffers hold
        assert service.get("/health/live").status_code == 200


def test_client_that_reads_nothing_does_not_delay_the_end() -> None:
    """A service that stops gives up a client that does not read its response.

    As the first process of a container it is not ended by the signal itself.
    """
    start = (
        "import runpy, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "runpy.run_module('src.main', run_name='__main__')"
    )
    requests = (GET.replace(b"/health/live", b"/openapi.json") + b"\r\n") * 1_000
    env = {"SHUTDOWN_TIMEOUT": "1"}
    with running("-c", start, env=env) as service, connection(service) as client:
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                client.sendall(requests)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=GRACE_PERIOD) == 0


def test_client_that_waits_makes_room_for_others(service: Service) -> None:
    """At the limit of connections the one that has waited longest is closed."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connection(service)) for _ in range(CONNECTIONS)]
        with connection(service) as another:
            another.sendall(GET + b"Connection: close\r\n\r\n")
            assert read_all(another).startswith(b"HTTP/1.1 200 ")
        assert read_all(clients[0]) == b""
    records = service.wait(lambda records: [r for r in records if r["logger"] == "server"])
    limits = [record for record in records if record["logger"] == "server"]
    assert limits[0]["level"] == "WARNING"


def test_few_open_files_bound_the_connections() -> None:
    """Where the system allows few open files, the service says so at its start."""
    start = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (170, 170)); "
        "runpy.run_module('src.main', run_name='__main__')"
    )
    with running("-c", start) as limited:
        records = limited.wait(lambda records: any(r["logger"] == "server" for r in records))
    told = [record for record in records if record["logger"] == "server"]
    assert [(record["level"], record["connections"]) for record in told] == [("WARNING", 20)]
