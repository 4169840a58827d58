"""A collector that is unavailable costs one record, and neither requests nor the shutdown."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from dev.ports import free_port
from tests.support.service import Record, Service, failures, running

LOGGER = "src.airtight.collector"
ATTEMPTS = 4


class Collector(http.server.ThreadingHTTPServer):
    """A collector that refuses what it gets, until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 503
        self.requests = threading.Semaphore(0)

    def wait_for_requests(self, service: Service, count: int) -> None:
        """Let the service make spans until so many requests with them have come."""
        while count:
            service.get("/health/live")
            if self.requests.acquire(timeout=0.2):
                count -= 1


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles what is exported."""

    server: Collector

    def do_POST(self) -> None:
        """Refuse or accept spans."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.requests.release()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def exporting(port: int, timeout: str = "0.5") -> Iterator[Service]:
    """Run a service that exports spans to a port, several times a second."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": timeout,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running(env=env) as service:
        yield service


def of_collector(records: list[Record]) -> list[tuple[str, str]]:
    """Return the levels and messages of what is logged about the collector."""
    return [(r["level"], r["message"]) for r in records if r["logger"] == LOGGER]


UNAVAILABLE = ("WARNING", "collector is unavailable, spans are lost")
AVAILABLE = ("INFO", "collector is available again")


@pytest.mark.parametrize(("status", "reason"), [(503, "retries"), (400, "400")])
def test_outage_of_the_collector_is_one_record(
    collector: Collector, status: int, reason: str
) -> None:
    """However often spans are refused, there is one record, until they have been accepted."""
    collector.status = status
    with exporting(collector.server_port) as service:
        collector.wait_for_requests(service, ATTEMPTS)
        service.wait(lambda records: of_collector(records) == [UNAVAILABLE])
        collector.wait_for_requests(service, ATTEMPTS)
        assert of_collector(service.records()) == [UNAVAILABLE]
        (record,) = failures(service.records())
        assert reason in record["reason"]
        # copier: if "prometheus" in observability
        lines = service.get("/metrics").text.splitlines()
        assert {line.split()[-1] for line in lines if line.startswith("errors_total{")} == {"0.0"}
        # copier: endif
        collector.status = 200
        collector.wait_for_requests(service, ATTEMPTS)
        service.wait(lambda records: of_collector(records) == [UNAVAILABLE, AVAILABLE])
        collector.status = status
        collector.wait_for_requests(service, ATTEMPTS)
        service.wait(lambda records: len(of_collector(records)) == 3)
    assert of_collector(service.records()) == [UNAVAILABLE, AVAILABLE, UNAVAILABLE]


def test_collector_that_cannot_be_reached_is_one_record() -> None:
    """A refused connection is an outage like any other."""
    with exporting(free_port(), timeout="2") as service:
        service.get("/health/live")
        service.wait(lambda records: of_collector(records) == [UNAVAILABLE])
        (record,) = failures(service.records())
        assert "refused" in record["reason"]
        service.get("/health/live")
    assert of_collector(service.records()) == [UNAVAILABLE]


def test_collector_that_does_not_respond_keeps_no_service_from_stopping() -> None:
    """At SIGTERM a service waits for a frozen collector for two seconds, not for its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        port = frozen.getsockname()[1]
        with exporting(port, timeout="600") as service:
            service.get("/health/live")
            connection = frozen.accept()[0]
            service.stop()
        connection.close()
    assert service.process.returncode == -15
    assert failures(service.records()) == []
