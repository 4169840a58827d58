"""Whatever fails in a request, there is one response and one record, and both have the same id."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.service import (
    Record,
    Service,
    access,
    assert_fields,
    failures,
    levels,
    levels_and_errors,
    request_id,
    running,
    statuses,
)

ORIGIN = "http://a.example"


@dataclass(frozen=True)
class Case:
    """A request that fails, its status and its record.

    Attributes:
        path: where the request goes.
        status: of the response.
        level: of the record; `None` where there is none.
        error: the class that the record names; `None` where a library has logged it.
        detail: what the client may read.
        first_file: where the traceback starts; `None` where no code of ours is in it.
        method: of the request.
    """

    path: str
    status: int = 500
    level: str | None = "CRITICAL"
    error: str | None = None
    detail: str | None = None
    first_file: str | None = "faulty.py"
    method: str = "GET"


def own_error(path: str, error: str | None = "UnavailableError") -> Case:
    """Return the case of an own error that hides its reason: 503 and one ERROR."""
    return Case(path, 503, "ERROR", error)


def http_error(path: str, status: int, detail: str, method: str = "GET") -> Case:
    """Return the case of an `HTTPException` below 500, which has no record."""
    return Case(path, status, None, None, detail, method=method)


CASES = [
    Case("/crash/async", error="ZeroDivisionError"),
    Case("/crash/sync", error="KeyError"),
    Case("/crash/dependency", error="KeyError"),
    Case("/crash/yield-early", error="KeyError"),
    Case(
        "/crash/response-model",
        error="ResponseValidationError",
        first_file=None,
    ),
    Case("/crash/nan", error="ValueError"),
    Case("/crash/unserialisable", first_file=None),
    Case("/crash/unprintable", error="UnprintableError"),
    Case("/crash/recursion", error="RecursionError"),
    Case("/crash/cancelled", error="CancelledError"),
    Case("/crash/exit", error="SystemExit"),
    Case("/crash/group-of-one", error="KeyError"),
    Case("/crash/group", error="KeyError"),
    Case("/crash/buggy-handler", error="KeyError"),
    Case("/crash/cause", error="RuntimeError"),
    Case("/crash/logged-by-library", level="ERROR"),
    Case("/middleware/crash", error="KeyError"),
    Case("/mounted/crash", error="KeyError"),
    Case("/mounted/crash-in-middleware", error="KeyError"),
    Case("/silent/", level="ERROR", error="APIError", first_file=None),
    own_error("/own/unavailable"),
    own_error("/own/group-of-one"),
    own_error("/own/logged-by-library", error=None),
    own_error("/middleware/own"),
    own_error("/mounted/own"),
    Case(
        "/own/teapot",
        status=418,
        level="INFO",
        error="TeapotError",
        detail="Short and stout.",
        first_file=None,
    ),
    Case("/http/500", 500, "ERROR", "HTTPException", detail="chosen"),
    http_error("/http/dependency", 401, "not authenticated"),
    http_error("/middleware/http", 403, "forbidden"),
    http_error("/nowhere", 404, "Not Found"),
    http_error("/mounted/nowhere", 404, "Not Found"),
    http_error("/own/teapot", 405, "Method Not Allowed", method="DELETE"),
]


# copier: if error_format == "problem"
OWN_TYPES = {
    "Short and stout.": "/errors/teapot",
    "The body is too large.": "/errors/request-too-large",
}


# copier: endif
def assert_body(response: httpx2.Response, status: int, detail: str | None) -> None:
    """The body of an error is the documented one, with the id that the header has."""
    # copier: if error_format == "message"
    media_type = "application/json"
    expected: Record = {"message": detail or "Internal server error"}
    # copier: endif
    # copier: if error_format == "problem"
    media_type = "application/problem+json"
    expected = {
        "type": OWN_TYPES.get(detail or "", "about:blank"),
        "title": response.json()["title"],
        "status": status,
        "correlation_id": request_id(response),
    }
    if detail:
        expected["detail"] = detail
    # copier: endif
    assert response.status_code == status
    assert response.headers["content-type"] == media_type
    assert response.json() == expected


def files_in(record: Record) -> list[str]:
    """Return the files of the frames in the traceback of a record."""
    lines = [line.strip() for line in record["exception"].splitlines()]
    return [line.split('"')[1] for line in lines if line.startswith("File ")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path}")
def test_error_has_one_response_and_one_record(faulty: Service, case: Case) -> None:
    """A request that fails has the documented body, one record, one access line and one id."""
    response = faulty.request(case.method, case.path, headers={"Origin": ORIGIN})
    assert_body(response, case.status, case.detail)
    headers = response.headers
    assert headers["access-control-allow-origin"] == ORIGIN
    exposed = headers["access-control-expose-headers"].lower()
    assert "x-request-id" in exposed

    records = faulty.records_of(response)
    (line,) = access(records, request_id(response))
    assert_fields(line, method=case.method, path=case.path, status=case.status)
    records.remove(line)
    if case.level is None:
        assert records == []
        return
    (record,) = records
    assert_record(record, case)


def assert_record(record: Record, case: Case) -> None:
    """Assert that the record of an error has its level, its class and its traceback."""
    assert record["level"] == case.level
    if case.error:
        assert record["error"] == case.error
    has_traceback = "exception" in record
    assert has_traceback is (case.level != "INFO")
    if has_traceback and case.first_file:
        assert_starts_in(record, case.first_file)


def assert_starts_in(record: Record, file: str) -> None:
    """Assert that the traceback of a record starts in a file of the service."""
    first = files_in(record)[0]
    assert first.endswith(f"src/{file}"), record["exception"]


def test_headers_of_an_http_exception_are_kept(faulty: Service) -> None:
    """A 401 says how to authenticate, a 405 what is allowed, a 503 when to retry."""
    assert faulty.get("/http/dependency").headers["www-authenticate"] == "Bearer"
    assert faulty.request("DELETE", "/own/teapot").headers["allow"] == "GET"
    assert faulty.get("/own/unavailable").headers["retry-after"] == "5"


def test_exit_announces_that_the_connection_is_closed(faulty: Service) -> None:
    """A client knows that the server closes the connection after a `SystemExit`."""
    assert faulty.get("/crash/exit").headers["connection"] == "close"
    assert "connection" not in faulty.get("/crash/async").headers


# After the response.


@pytest.mark.parametrize(
    ("path", "level", "error"),
    [
        ("/after/background", "CRITICAL", "KeyError"),
        ("/after/background-sync", "CRITICAL", "KeyError"),
        ("/after/background-own", "ERROR", "UnavailableError"),
        ("/after/yield", "CRITICAL", "KeyError"),
    ],
)
def test_failure_after_the_response_is_logged(
    faulty: Service, path: str, level: str, error: str
) -> None:
    """What fails after the response leaves it as it is, and has one record with the id."""
    response = faulty.get(path)
    assert response.status_code == 200
    assert response.json() == "done"
    correlation_id = request_id(response)
    faulty.wait(lambda _: failures(faulty.records(correlation_id)))
    records = faulty.wait_for_request(correlation_id)
    assert levels_and_errors(records) == [(level, error)]
    assert statuses(records) == [200]


def test_failure_of_a_task_that_nobody_awaits_is_logged(
    faulty: Service,
) -> None:
    """A task that fails has one record, with the id where Python shows the context of a task."""
    before = len(faulty.records())
    response = faulty.get("/after/task")
    assert response.json() == "done"
    faulty.wait(lambda records: failures(records[before:]))
    faulty.records_of(response)
    (record,) = failures(faulty.records()[before:])
    assert_fields(record, level="CRITICAL", error="KeyError")
    assert_starts_in(record, "faulty.py")
    expected = None
    if sys.version_info >= (3, 12):
        expected = request_id(response)
    assert record["correlation_id"] == expected


# Streams.


@pytest.mark.parametrize(("path", "received"), [("/stream/first", 0), ("/stream/later", 100)])
def test_broken_stream_is_cut_and_logged(faulty: Service, path: str, received: int) -> None:
    """A stream that fails is logged, and cut, so that the client sees that it is incomplete."""
    body = b""
    with httpx2.stream("GET", faulty.url + path, verify=False) as response:
        chunks = response.iter_raw()
        if received:
            body = next(chunks)
        with pytest.raises(httpx2.RemoteProtocolError):
            next(chunks)
    assert response.status_code == 200
    assert len(body) == received
    (record,) = failures(faulty.records_of(response))
    assert_fields(record, level="CRITICAL", error="KeyError")
    assert_starts_in(record, "faulty.py")


# Bodies.

JSON = "application/json"
TEXT = "text/plain"
BINARY = b"\x00\xff\xfe" * 1000
TOO_LARGE = b"x" * 2_000_000
LONG_VALUE = b'{"name": 1, "junk": "%s"}' % (b"x" * 900_000)
EMOJI = json.dumps({"name": 1, "junk": "😀" * 9_000}, ensure_ascii=False)
BODIES = [
    ("/body", b'{"name": ', JSON, 422),
    ("/body", b'{"name": "ann", "amount": NaN}', JSON, 422),
    ("/body", BINARY, JSON, 422),
    ("/body", BINARY, "application/octet-stream", 422),
    ("/body", b'{"name": "bob the builder"}', JSON, 422),
    ("/body", b"[" * 200_000, JSON, 400),
    ("/body", LONG_VALUE, JSON, 422),
    ("/body", b"a=1&b=2", "application/x-www-form-urlencoded", 422),
    ("/body", EMOJI.encode(), JSON, 422),
    ("/body", TOO_LARGE, JSON, 413),
    ("/body/raw", TOO_LARGE, TEXT, 413),
    ("/body/ignored", TOO_LARGE, TEXT, 413),
]


@pytest.mark.parametrize(("path", "body", "kind", "status"), BODIES, ids=range(len(BODIES)))
def test_bad_body_is_a_short_warning(
    faulty: Service, path: str, body: bytes, kind: str, status: int
) -> None:
    """A body that cannot be used is the client's mistake, and one short WARNING."""
    headers = {"Content-Type": kind}
    response = faulty.request("POST", path, content=body, headers=headers)
    assert response.status_code == status
    assert levels(faulty.records_of(response)) == ["WARNING"]
    (line,) = lines_with(faulty, request_id(response), '"WARNING"')
    assert len(line.encode()) <= 4_096


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/body/echo", '"\\ud800"'),
        ("/body/echo", '{"\\uDfff": 1}'),
        ("/body", '{"name": "bob \\ud800"}'),
    ],
)
def test_text_that_utf8_has_no_form_for_is_refused(faulty: Service, path: str, body: str) -> None:
    """Half a character in a body is a 422, wherever the service finds that it cannot send it."""
    headers = {"Content-Type": "application/json"}
    response = faulty.request("POST", path, content=body, headers=headers)
    assert response.status_code == 422
    assert levels(faulty.records_of(response)) == ["WARNING"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000"])
def test_redirect_to_another_slash_stays_on_the_host(faulty: Service, host: str) -> None:
    """The header Host decides nothing about where a client is sent."""
    response = faulty.get("/body/slash?a=1", headers={"Host": host})
    assert response.status_code == 307
    assert response.headers["location"] == "/body/slash/?a=1"


def lines_with(service: Service, *words: str) -> list[str]:
    """Return the lines of the log that have all of these words."""
    return [line for line in service.lines if all(word in line for word in words)]


def test_body_without_a_length_is_limited(faulty: Service) -> None:
    """A body that arrives in chunks is refused as soon as it is too large."""
    chunks = (b"x" * 100_000 for _ in range(20))
    response = faulty.request("POST", "/body/raw", content=chunks)
    assert response.status_code == 413
    assert levels(faulty.records_of(response)) == ["WARNING"]


def test_rejected_values_and_secrets_are_not_repeated(
    faulty: Service,
) -> None:
    """Neither the response nor the log repeats a value that was rejected or is secret."""
    sent = {
        "name": "bob hunter1",
        "password": ["hunter2"],
        "amount": "hunter3",
    }
    response = faulty.request("POST", "/body", json=sent)
    assert response.status_code == 422
    for value in ("hunter1", "hunter2", "hunter3"):
        assert value not in response.text
    (record,) = failures(faulty.records_of(response))
    assert "hunter2" not in str(record)
    assert [error["loc"] for error in record["errors"]] == [
        ["body", "name"],
        ["body", "password"],
        ["body", "amount"],
    ]


def test_invalid_response_is_not_repeated(faulty: Service) -> None:
    """A response that does not fit its model reaches neither the client nor the log."""
    response = faulty.get("/crash/response-model")
    assert "hunter2" not in response.text
    assert "hunter2" not in str(faulty.records_of(response))


# Clients that leave.


def raw_request(service: Service, start: str) -> socket.socket:
    """Send the first lines of a request and return the connection."""
    url = httpx2.URL(service.url)
    connection = socket.create_connection((url.host, url.port), timeout=10)
    head = f"{start} HTTP/1.1\r\nHost: test\r\n"
    connection.sendall(head.encode())
    return connection


def test_client_that_leaves_during_the_upload_is_no_error(
    faulty: Service,
) -> None:
    """A client that leaves while it sends is an access line with 499."""
    with raw_request(faulty, "POST /body") as connection:
        connection.sendall(
            b"X-Request-ID: left-upload\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: 1000\r\n"
            b"\r\n"
            b"{"
        )
    records = faulty.wait_for_request("left-upload")
    assert statuses(records) == [499]
    assert failures(records) == []


def test_client_that_leaves_during_a_stream_is_no_error(
    faulty: Service,
) -> None:
    """A client that leaves while it receives is an access line with 499."""
    with raw_request(faulty, "GET /stream/endless") as connection:
        connection.sendall(b"X-Request-ID: left-stream\r\n\r\n")
        assert connection.recv(1000)
    records = faulty.wait_for_request("left-stream")
    assert statuses(records) == [499]
    assert failures(records) == []


# WebSockets.


def open_websocket(service: Service, path: str) -> ClientConnection:
    """Open a WebSocket."""
    url = service.url.replace("http", "ws")
    return connect(url + path)


def id_of(websocket: ClientConnection) -> str:
    """Return the id with which a WebSocket was accepted."""
    assert websocket.response is not None
    return websocket.response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/ws/before", 500, ["CRITICAL"]),
        ("/ws/refused", 401, []),
        ("/ws/closed", 403, []),
        ("/ws/silent", 500, ["ERROR"]),
    ],
)
def test_failed_handshake_has_one_response_and_one_record(
    faulty: Service, path: str, status: int, expected: list[str]
) -> None:
    """A WebSocket that is not accepted gets an HTTP response with the id."""
    with pytest.raises(InvalidStatus) as caught:
        open_websocket(faulty, path)
    response = caught.value.response
    assert response.status_code == status
    records = faulty.wait_for_request(response.headers["x-request-id"])
    assert levels(records) == expected
    assert statuses(records) == [status]


def test_crash_on_an_open_websocket_closes_it_with_1011(
    faulty: Service,
) -> None:
    """A WebSocket on which something fails is closed, and has one record with its id."""
    with (
        open_websocket(faulty, "/ws/after") as websocket,
        pytest.raises(ConnectionClosedError) as caught,
    ):
        websocket.recv(timeout=10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    records = faulty.wait_for_request(id_of(websocket))
    assert levels_and_errors(records) == [("CRITICAL", "KeyError")]


def test_websocket_that_the_client_closes_is_no_error(
    faulty: Service,
) -> None:
    """A WebSocket that works has one access line."""
    with open_websocket(faulty, "/ws/echo") as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=10) == "hello"
    records = faulty.wait_for_request(id_of(websocket))
    assert statuses(records) == [101]
    assert failures(records) == []


@pytest.mark.parametrize(
    ("path", "sent", "code"),
    [
        ("/ws/echo", b"bytes", 1003),
        ("/ws/json", b"bytes", 1003),
        ("/ws/json", "{", 1007),
    ],
)
def test_websocket_that_gets_something_else_is_closed(
    faulty: Service, path: str, sent: str | bytes, code: int
) -> None:
    """A message that the application cannot read is the client's mistake, which its code names."""
    with open_websocket(faulty, path) as websocket:
        websocket.send(sent)
        with pytest.raises(ConnectionClosedError) as caught:
            websocket.recv(timeout=10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code
    assert failures(faulty.wait_for_request(id_of(websocket))) == []


# Ids.


@pytest.mark.parametrize("sent", ["abc", "A-Z_0.9:/=+", "x" * 128])
def test_valid_id_is_kept(faulty: Service, sent: str) -> None:
    """The response and the records have the id that the client sends."""
    response = faulty.get("/crash/async", headers={"X-Request-ID": sent})
    assert request_id(response) == sent
    records = faulty.wait_for_request(sent)
    assert {record["level"] for record in records} == {"CRITICAL", "INFO"}


INVALID_IDS = [
    b"",
    b"x" * 129,
    b"x" * 16_000,
    b"a b",
    b"a\tb",
    b"\xc3\xa9",
    b'a"b',
    b"a%0d%0ab",
]


@pytest.mark.parametrize("sent", INVALID_IDS)
def test_invalid_id_is_replaced(faulty: Service, sent: bytes) -> None:
    """An id that could do harm is neither sent back nor logged."""
    response = faulty.get("/health/live", headers={b"X-Request-ID": sent})
    correlation_id = request_id(response)
    assert correlation_id.encode() != sent
    assert len(correlation_id) == 32
    (line,) = faulty.wait_for_request(correlation_id)
    assert line["status"] == 200


def test_path_cannot_forge_a_line(faulty: Service) -> None:
    """A line break in a path stays within its line of the log."""
    forged = '{"level":"CRITICAL","logger":"access"}'
    response = faulty.get(f"/x%0d%0a{forged}")
    (line,) = faulty.records_of(response)
    assert_fields(line, level="INFO", path=f"/x\r\n{forged}")


MESSAGES = [
    "background",
    "endpoint",
    "executor",
    "library",
    "request",
    "task",
    "thread",
]


def test_every_record_has_the_id_of_its_own_request(
    faulty: Service,
) -> None:
    """The id follows a request through threads, tasks and libraries, for 200 requests at once."""

    def request(correlation_id: str) -> None:
        headers = {"X-Request-ID": correlation_id}
        faulty.get("/ids", params={"wait": 0.05}, headers=headers)

    def all_are_done(records: list[Record]) -> bool:
        messages = [record["message"] for record in records]
        return messages.count("background") >= len(sent)

    sent = [f"many-{number}" for number in range(200)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(request, sent))
    messages: dict[str, list[str]] = {name: [] for name in sent}
    for record in faulty.wait(all_are_done):
        if record["correlation_id"] in messages:
            messages[record["correlation_id"]].append(record["message"])
    for found in messages.values():
        assert sorted(found) == MESSAGES


def test_id_is_passed_on_to_another_service(faulty: Service) -> None:
    """A call to another service sends the id of the request along."""
    headers = {"X-Request-ID": "relayed"}
    with running() as other:
        params = {"to": other.url}
        response = faulty.get("/relay", params=params, headers=headers)
        assert response.json() == 404
        (line,) = other.wait_for_request("relayed")
    assert_fields(line, path="/nowhere", status=404)


# Logs.


def test_secrets_are_redacted_wherever_they_are_logged(
    faulty: Service,
) -> None:
    """Passwords in URLs and values of fields with secret names do not reach the log."""
    response = faulty.get("/log")
    (record,) = failures(faulty.records_of(response))
    assert_fields(
        record,
        message="cannot reach amqp://me:***@queue/x",
        password="***",
        nested={"api_key": "***"},
        text="a\nb",
    )


def test_every_line_is_a_record_of_one_form(faulty: Service) -> None:
    """Records of the service, the server and libraries are JSON with the same first fields."""
    for path in ("/log", "/crash/async"):
        faulty.records_of(faulty.get(path))
    records = faulty.records()
    for record in records:
        assert list(record)[:5] == [
            "timestamp",
            "level",
            "logger",
            "message",
            "correlation_id",
        ]
        timestamp = datetime.fromisoformat(record["timestamp"])
        assert timestamp.utcoffset() == timedelta(0)
    loggers = {record["logger"] for record in records}
    assert loggers >= {"access", "errors", "some.library", "uvicorn.error"}
    assert faulty.errors == []
