"""No record is lost or broken, and nothing of a request is kept after it."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.service import (
    Record,
    Service,
    access,
    assert_fields,
    copy_with,
    failures,
    levels_and_errors,
    request_id,
    running,
    statuses,
)

ROUTES = Path(__file__).with_name("faulty_more.py")
COMMAND = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
TWO_WORKERS = ["--workers", "2", "--timeout-worker-healthcheck", "60"]
SIZES: dict[str, Callable[[int], int]] = {
    "long": lambda _: 12_000,
    "medium": lambda _: 6_000,
    "mixed": lambda number: 1_000 * (number % 30),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the service with routes that go wrong."""
    return copy_with(ROUTES, tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A service with routes that go wrong."""
    with running(*COMMAND, cwd=folder) as service:
        yield service


# Records that cannot be formatted.

UNFORMATTED = [
    "wrong-type",
    "too-few",
    "too-many",
    "missing-key",
    "unknown-format",
    "argument",
    "repr",
    "deep-argument",
    "message",
]
EXTRAS = [
    "extra",
    "extra-in-list",
    "extra-key",
    "extra-error",
    "deep-extra",
    "cyclic-extra",
    "surrogate",
    "bytes",
    "huge-number",
    "nan",
]


@pytest.mark.parametrize("kind", UNFORMATTED)
@pytest.mark.parametrize("route", ["unformatted", "unformatted-exception"])
def test_record_that_cannot_be_formatted_is_logged_raw(
    service: Service, route: str, kind: str
) -> None:
    """Whatever is wrong with message or arguments, both are logged, and that they do not fit."""
    response = service.get(f"/{route}/{kind}")
    assert response.status_code == 200
    (record,) = failures(service.records_of(response))
    assert_fields(record, level="ERROR", logger="app")
    assert "payment" in str(record)
    assert "A-1" in str(record)
    assert [name for name in record if "format" in name]
    if route == "unformatted-exception":
        assert "LookupError: a bug" in record["exception"]


@pytest.mark.parametrize("kind", EXTRAS)
def test_record_with_any_value_is_logged(service: Service, kind: str) -> None:
    """A field that cannot be shown neither loses the record nor its other fields."""
    response = service.get(f"/extra/{kind}")
    assert response.status_code == 200
    (record,) = failures(service.records_of(response))
    assert_fields(
        record,
        level="ERROR",
        logger="app",
        message="payment failed",
        payment="A-1",
    )
    assert "thing" in record


def test_exception_that_cannot_be_shown_is_logged(service: Service) -> None:
    """An exception whose text cannot be had is logged with its class and traceback."""
    response = service.get("/unprintable-exception")
    (record,) = failures(service.records_of(response))
    assert_fields(
        record,
        level="ERROR",
        message="payment failed",
        payment="A-1",
    )
    assert "UnprintableError" in record["exception"]
    assert "src/faulty.py" in record["exception"]


@pytest.mark.parametrize("form", ["console", "ecs"])
def test_record_that_cannot_be_formatted_is_logged_in_each_form(folder: Path, form: str) -> None:
    """No form of the log loses a record."""
    paths = [f"/unformatted/{kind}" for kind in UNFORMATTED]
    paths += [f"/extra/{kind}" for kind in EXTRAS]
    with running(*COMMAND, cwd=folder, env={"LOG_FORMAT": form}) as service:
        for path in paths:
            service.get(path, headers={"X-Request-ID": path})
        service.stop()
    lines = [line for line in service.lines if "payment" in line and "A-1" in line]
    assert len(lines) == len(paths)


# copier: if "prometheus" in observability
@pytest.mark.parametrize("path", ["/unformatted/wrong-type", "/extra/extra"])
def test_record_that_cannot_be_formatted_is_counted(service: Service, path: str) -> None:
    """A record that cannot be formatted counts like any other."""
    before = count_errors(service)
    service.get(path)
    assert count_errors(service) == before + 1


def count_errors(service: Service) -> float:
    """Return how many errors were counted."""
    counts = [
        float(line.split()[-1])
        for line in service.get("/metrics").text.splitlines()
        if line.startswith("errors_total")
    ]
    return sum(counts)


# copier: endif
# Pipes.


class SlowReader(threading.Thread):
    """Reads all that arrives in a pipe, in small pieces, as soon as it may."""

    def __init__(self, pipe: int) -> None:
        super().__init__(daemon=True)
        self.may_read = threading.Event()
        self.text = b""
        self._pipe = pipe

    def run(self) -> None:
        """Read until the last writer has closed the pipe."""
        self.may_read.wait()
        piece = os.read(self._pipe, 4_096)
        while piece:
            self.text += piece
            piece = os.read(self._pipe, 4_096)

    def records(self) -> list[Record]:
        """Return all records that were read."""
        return [json.loads(line) for line in self.text.splitlines()]


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[tuple[Service, SlowReader]]:
    """Run a service whose stdout is a pipe that a neighbour has made non-blocking."""
    read_end, write_end = os.pipe()
    reader = SlowReader(read_end)
    reader.start()
    try:
        with running(*COMMAND, cwd=folder, stdout=write_end) as service:
            os.set_blocking(write_end, False)
            yield service, reader
    finally:
        os.close(write_end)
        reader.join(timeout=30)
        os.close(read_end)


def send_many(service: Service, count: int, size: Callable[[int], int]) -> set[str]:
    """Send requests that log long records, and return their ids."""

    def send(number: int) -> str:
        params = {"size": size(number)}
        return request_id(service.get("/long-record", params=params))

    with ThreadPoolExecutor(16) as threads:
        return set(threads.map(send, range(count)))


@pytest.mark.parametrize("size", [1_000, 3_000, 12_000])
def test_pipe_that_does_not_block_loses_nothing(folder: Path, size: int) -> None:
    """As long as somebody reads, every record arrives whole, also where stdout does not block."""
    with reading(folder) as (service, reader):
        reader.may_read.set()
        expected = send_many(service, 120, lambda _: size)
    assert ids_of_long_records(reader.records()) == expected


def ids_of_long_records(records: list[Record]) -> set[str]:
    """Return the ids of the requests whose long records were written."""
    return {record["correlation_id"] for record in records if record["message"] == "long record"}


@pytest.mark.parametrize("size", [7_000, 9_000, 11_000, 20_000, 30_000])
def test_pipe_that_is_full_breaks_no_record(folder: Path, size: int) -> None:
    """While nobody reads, requests get responses, and no record is written in part."""
    with reading(folder) as (service, reader):
        for _ in range(12):
            response = service.get("/long-record", params={"size": size})
            assert response.status_code == 200
        reader.may_read.set()
        last = request_id(service.get("/health/live"))
    assert len(access(reader.records(), last)) == 1


@dataclass(frozen=True)
class WrittenBySeveral:
    """What two workers have written to one pipe.

    Args:
        records: all of it.
        expected: the ids of the requests that log long records, by what is sent.
    """

    records: list[Record]
    expected: dict[str, set[str]]


@pytest.fixture(scope="module")
def several(folder: Path) -> WrittenBySeveral:
    """Send requests of several sizes to two workers."""
    with running(*COMMAND, *TWO_WORKERS, cwd=folder) as service:
        expected = {name: send_many(service, 120, size) for name, size in SIZES.items()}
        service.stop()
    return WrittenBySeveral(service.records(), expected)


@pytest.mark.parametrize("sizes", SIZES)
def test_lines_of_several_workers_do_not_mix(several: WrittenBySeveral, sizes: str) -> None:
    """What several workers write to one pipe are whole records, and none is missing."""
    written = ids_of_long_records(several.records)
    with_line = {r["correlation_id"] for r in several.records if r["logger"] == "access"}
    assert several.expected[sizes] <= written & with_line
    assert written == set().union(*several.expected.values())


# What stays in memory.


@pytest.mark.parametrize("survivor", ["task", "timer", "thread", "context"])
@pytest.mark.parametrize("failure", ["crash", "own", "group", "invalid", "http"])
def test_nothing_of_a_failed_request_is_kept(service: Service, survivor: str, failure: str) -> None:
    """What a request has begun may outlive it; the request's own data does not."""
    path = f"/memory/{survivor}/{failure}"
    for _ in range(3):
        response = service.request("POST", path, content=b"x" * 100_000)
        service.records_of(response)
    for _ in range(50):
        if service.get("/payloads").json() == 0:
            break
    assert service.get("/payloads").json() == 0


# Threads.


@pytest.mark.parametrize(
    ("path", "level", "error"),
    [
        ("/thread/run-in-executor", "CRITICAL", "LookupError"),
        ("/thread/own-error", "ERROR", "UnavailableError"),
        ("/thread/run-in-pool", "CRITICAL", "LookupError"),
        ("/thread/submit", "CRITICAL", "LookupError"),
        ("/thread/submit-from-thread", "CRITICAL", "LookupError"),
    ],
)
def test_failure_in_a_thread_that_nobody_awaits_is_logged_once(
    service: Service, path: str, level: str, error: str
) -> None:
    """What fails in a thread of ours is logged with the id of the request that started it."""
    response = service.get(path)
    assert response.status_code == 200
    correlation_id = request_id(response)
    service.wait(
        lambda _: failures(service.records(correlation_id)),
        timeout=10,
    )
    records = service.wait_for_request(correlation_id)
    assert levels_and_errors(records) == [(level, error)]


def test_failure_in_a_foreign_thread_pool_is_logged_once(service: Service) -> None:
    """What fails in another pool's thread is logged once, too, if the event loop hears of it."""
    before = len(failures(service.records()))
    service.get("/thread/run-in-own-pool")
    service.wait(
        lambda records: len(failures(records)) > before,
        timeout=10,
    )
    service.records_of(service.get("/health/live"))
    found = levels_and_errors(service.records())[before:]
    assert found == [("CRITICAL", "LookupError")]


def test_failure_in_a_thread_that_is_handled_is_not_logged(service: Service) -> None:
    """Who awaits what runs in a thread handles its failure."""
    before = len(failures(service.records()))
    response = service.get("/thread/handled")
    assert response.status_code == 200
    service.records_of(response)
    assert failures(service.records())[before:] == []


@pytest.mark.parametrize("path", ["/thread/awaited", "/thread/submit-awaited"])
def test_failure_in_a_thread_that_is_awaited_is_the_requests_failure(
    service: Service, path: str
) -> None:
    """What fails in a thread for which the endpoint waits is logged once, as the endpoint's."""
    before = len(failures(service.records()))
    response = service.get(path)
    assert response.status_code == 500
    records = service.records_of(response)
    assert levels_and_errors(records) == [("CRITICAL", "LookupError")]
    assert statuses(records) == [500]
    assert len(failures(service.records())) == before + 1
