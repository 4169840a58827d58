"""Whatever fails in a request, there is one response and one record, and both have the same id."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.service import Record, Service, access, failures, running


class Case(NamedTuple):
    """A request that fails, its status and its record."""

    path: str
    status: int
    level: str | None = "CRITICAL"
    error: str | None = None
    detail: str | None = None
    first_file: str | None = "faulty.py"
    method: str = "GET"


CASES = [
    Case("/crash/async", 500, error="ZeroDivisionError"),
    Case("/crash/sync", 500, error="KeyError"),
    Case("/crash/dependency", 500, error="KeyError"),
    Case("/crash/yield-early", 500, error="KeyError"),
    Case("/crash/response-model", 500, error="ResponseValidationError", first_file=None),
    Case("/crash/nan", 500, error="ValueError"),
    Case("/crash/unserialisable", 500, first_file=None),
    Case("/crash/unprintable", 500, error="UnprintableError"),
    Case("/crash/recursion", 500, error="RecursionError"),
    Case("/crash/cancelled", 500, error="CancelledError"),
    Case("/crash/exit", 500, error="SystemExit"),
    Case("/crash/group-of-one", 500, error="KeyError"),
    Case("/crash/group", 500, error="KeyError"),
    Case("/crash/buggy-handler", 500, error="KeyError"),
    Case("/crash/cause", 500, error="RuntimeError"),
    Case("/crash/logged-by-library", 500, level="ERROR"),
    Case("/middleware/crash", 500, error="KeyError"),
    Case("/mounted/crash", 500, error="KeyError"),
    Case("/mounted/crash-in-middleware", 500, error="KeyError"),
    Case("/silent/", 500, level="ERROR", error="APIError", first_file=None),
    Case("/own/unavailable", 503, level="ERROR", error="UnavailableError"),
    Case("/own/group-of-one", 503, level="ERROR", error="UnavailableError"),
    Case("/own/logged-by-library", 503, level="ERROR"),
    Case(
        "/own/teapot",
        418,
        level="INFO",
        error="TeapotError",
        detail="Short and stout.",
        first_file=None,
    ),
    Case("/middleware/own", 503, level="ERROR", error="UnavailableError"),
    Case("/mounted/own", 503, level="ERROR", error="UnavailableError"),
    Case("/http/dependency", 401, level=None, detail="not authenticated"),
    Case("/http/500", 500, level="ERROR", error="HTTPException", detail="chosen"),
    Case("/middleware/http", 403, level=None, detail="forbidden"),
    Case("/nowhere", 404, level=None, detail="Not Found"),
    Case("/mounted/nowhere", 404, level=None, detail="Not Found"),
    Case("/own/teapot", 405, level=None, detail="Method Not Allowed", method="DELETE"),
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
    expected: object = {"message": detail or "Internal server error"}
    media_type = "application/json"
    # copier: endif
    # copier: if error_format == "problem"
    problem_type = OWN_TYPES.get(detail or "", "about:blank")
    expected = {"type": problem_type, "title": response.json()["title"], "status": status}
    expected = expected | ({"detail": detail} if detail else {})
    expected = expected | {"correlation_id": response.headers["x-request-id"]}
    media_type = "application/problem+json"
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
    response = faulty.request(case.method, case.path, headers={"Origin": "http://a.example"})
    assert_body(response, case.status, case.detail)
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert "x-request-id" in response.headers["access-control-expose-headers"].lower()

    records = faulty.wait_for_request(response.headers["x-request-id"])
    (line,) = access(records, response.headers["x-request-id"])
    assert line["method"] == case.method
    assert line["path"] == case.path
    assert line["status"] == case.status

    others = [record for record in records if record is not line]
    assert [record["level"] for record in others] == ([case.level] if case.level else [])
    for record in others:
        assert case.error in (None, record.get("error"))
        assert ("exception" in record) is (record["level"] != "INFO")
        if case.first_file and "exception" in record:
            assert files_in(record)[0].endswith(f"src/{case.first_file}"), record["exception"]


def test_headers_of_an_http_exception_are_kept(faulty: Service) -> None:
    """A 401 says how to authenticate, a 405 what is allowed, a 503 when to retry."""
    assert faulty.get("/http/dependency").headers["www-authenticate"] == "Bearer"
    assert faulty.request("DELETE", "/own/teapot").headers["allow"] == "GET"
    assert faulty.get("/own/unavailable").headers["retry-after"] == "5"


def test_exit_announces_that_the_connection_is_closed(faulty: Service) -> None:
    """The server closes the connection after a `SystemExit`; a client that knows does not reuse it."""
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
    correlation_id = response.headers["x-request-id"]
    faulty.wait(lambda _: failures(faulty.records(correlation_id)))
    records = faulty.wait_for_request(correlation_id)
    assert [(r["level"], r["error"]) for r in failures(records)] == [(level, error)]
    assert [r["status"] for r in access(records, correlation_id)] == [200]


def test_failure_of_a_task_that_nobody_awaits_is_logged(faulty: Service) -> None:
    """A task that fails has one record, with the id where Python shows the context of a task."""
    before = len(faulty.records())
    response = faulty.get("/after/task")
    assert response.json() == "done"
    correlation_id = response.headers["x-request-id"]
    faulty.wait(lambda records: failures(records[before:]))
    faulty.wait_for_request(correlation_id)
    (record,) = failures(faulty.records()[before:])
    assert record["level"] == "CRITICAL"
    assert record["error"] == "KeyError"
    assert files_in(record)[0].endswith("src/faulty.py")
    assert record["correlation_id"] == (correlation_id if sys.version_info >= (3, 12) else None)


# Streams.


@pytest.mark.parametrize(("path", "received"), [("/stream/first", 0), ("/stream/later", 100)])
def test_broken_stream_is_cut_and_logged(faulty: Service, path: str, received: int) -> None:
    """A stream that fails is logged, and cut, so that the client sees that it is incomplete."""
    with httpx2.stream("GET", faulty.url + path) as response:
        chunks = response.iter_raw()
        body = next(chunks) if received else b""
        with pytest.raises(httpx2.RemoteProtocolError):
            next(chunks)
    assert response.status_code == 200
    assert len(body) == received
    (record,) = failures(faulty.wait_for_request(response.headers["x-request-id"]))
    assert record["level"] == "CRITICAL"
    assert record["error"] == "KeyError"
    assert files_in(record)[0].endswith("src/faulty.py")


# Bodies.

EMOJI = json.dumps({"name": 1, "junk": "😀" * 9_000}, ensure_ascii=False).encode()
BODIES = [
    ("/body", b'{"name": ', "application/json", 422),
    ("/body", b'{"name": "ann", "amount": NaN}', "application/json", 422),
    ("/body", b"\x00\xff\xfe" * 1000, "application/json", 422),
    ("/body", b"\x00\xff\xfe" * 1000, "application/octet-stream", 422),
    ("/body", b'{"name": "bob the builder"}', "application/json", 422),
    ("/body", b"[" * 200_000, "application/json", 400),
    ("/body", b'{"name": 1, "junk": "%s"}' % (b"x" * 900_000), "application/json", 422),
    ("/body", b"a=1&b=2", "application/x-www-form-urlencoded", 422),
    ("/body", EMOJI, "application/json", 422),
    ("/body", b"x" * 2_000_000, "application/json", 413),
    ("/body/raw", b"x" * 2_000_000, "text/plain", 413),
    ("/body/ignored", b"x" * 2_000_000, "text/plain", 413),
]


@pytest.mark.parametrize(("path", "body", "kind", "status"), BODIES, ids=range(len(BODIES)))
def test_bad_body_is_a_short_warning(
    faulty: Service, path: str, body: bytes, kind: str, status: int
) -> None:
    """A body that cannot be used is the client's mistake, and one short WARNING."""
    response = faulty.request("POST", path, content=body, headers={"Content-Type": kind})
    assert response.status_code == status
    correlation_id = response.headers["x-request-id"]
    records = failures(faulty.wait_for_request(correlation_id))
    assert [record["level"] for record in records] == ["WARNING"]
    line = next(line for line in faulty.lines if correlation_id in line and '"WARNING"' in line)
    assert len(line.encode()) <= 4_096


def test_body_without_a_length_is_limited(faulty: Service) -> None:
    """A body that arrives in chunks is refused as soon as it is too large."""
    chunks = (b"x" * 100_000 for _ in range(20))
    response = faulty.request("POST", "/body/raw", content=chunks)
    assert response.status_code == 413
    records = failures(faulty.wait_for_request(response.headers["x-request-id"]))
    assert [record["level"] for record in records] == ["WARNING"]


def test_rejected_values_and_secrets_are_not_repeated(faulty: Service) -> None:
    """Neither the response nor the log repeats a value that was rejected or is secret."""
    sent = {"name": "bob hunter1", "password": ["hunter2"], "amount": "hunter3"}
    response = faulty.request("POST", "/body", json=sent)
    assert response.status_code == 422
    assert not [word for word in ("hunter1", "hunter2", "hunter3") if word in response.text]
    (record,) = failures(faulty.wait_for_request(response.headers["x-request-id"]))
    assert "hunter2" not in str(record)
    assert [error["loc"] for error in record["errors"]] == [
        ["body", "name"],
        ["body", "password"],
        ["body", "amount"],
    ]
    response = faulty.get("/crash/response-model")
    assert "hunter2" not in response.text
    assert "hunter2" not in str(faulty.wait_for_request(response.headers["x-request-id"]))


# Clients that leave.


def raw_request(service: Service, head: str) -> socket.socket:
    """Send the first lines of a request and return the connection."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head} HTTP/1.1\r\nHost: test\r\n".encode())
    return connection


def test_client_that_leaves_during_the_upload_is_no_error(faulty: Service) -> None:
    """A client that leaves while it sends is an access line with 499."""
    with raw_request(faulty, "POST /body") as connection:
        connection.sendall(
            b"X-Request-ID: left-upload\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
    records = faulty.wait_for_request("left-upload")
    assert [r["status"] for r in access(records, "left-upload")] == [499]
    assert failures(records) == []


def test_client_that_leaves_during_a_stream_is_no_error(faulty: Service) -> None:
    """A client that leaves while it receives is an access line with 499."""
    with raw_request(faulty, "GET /stream/endless") as connection:
        connection.sendall(b"X-Request-ID: left-stream\r\n\r\n")
        assert connection.recv(1000)
    records = faulty.wait_for_request("left-stream")
    assert [r["status"] for r in access(records, "left-stream")] == [499]
    assert failures(records) == []


# WebSockets.


def open_websocket(service: Service, path: str) -> ClientConnection:
    """Open a WebSocket."""
    return connect(service.url.replace("http", "ws") + path)


def id_of(websocket: ClientConnection) -> str:
    """Return the id with which a WebSocket was accepted."""
    assert websocket.response is not None
    return websocket.response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/ws/before", 500, "CRITICAL"),
        ("/ws/refused", 401, None),
        ("/ws/closed", 403, None),
        ("/ws/silent", 500, "ERROR"),
    ],
)
def test_failed_handshake_has_one_response_and_one_record(
    faulty: Service, path: str, status: int, level: str | None
) -> None:
    """A WebSocket that is not accepted gets an HTTP response with the id."""
    with pytest.raises(InvalidStatus) as caught:
        open_websocket(faulty, path)
    response = caught.value.response
    assert response.status_code == status
    records = faulty.wait_for_request(response.headers["x-request-id"])
    assert [r["level"] for r in failures(records)] == ([level] if level else [])
    assert [r["status"] for r in access(records, response.headers["x-request-id"])] == [status]


def test_crash_on_an_open_websocket_closes_it_with_1011(faulty: Service) -> None:
    """A WebSocket on which something fails is closed, and has one record with its id."""
    with (
        open_websocket(faulty, "/ws/after") as websocket,
        pytest.raises(ConnectionClosedError) as caught,
    ):
        websocket.recv(timeout=10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    records = faulty.wait_for_request(id_of(websocket))
    assert [(r["level"], r["error"]) for r in failures(records)] == [("CRITICAL", "KeyError")]


def test_websocket_that_the_client_closes_is_no_error(faulty: Service) -> None:
    """A WebSocket that works has one access line."""
    with open_websocket(faulty, "/ws/echo") as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=10) == "hello"
    correlation_id = id_of(websocket)
    records = faulty.wait_for_request(correlation_id)
    assert [r["status"] for r in access(records, correlation_id)] == [101]
    assert failures(records) == []


# Ids.


@pytest.mark.parametrize("sent", ["abc", "A-Z_0.9:/=+", "x" * 128])
def test_valid_id_is_kept(faulty: Service, sent: str) -> None:
    """The response and the records have the id that the client sends."""
    response = faulty.get("/crash/async", headers={"X-Request-ID": sent})
    assert response.headers["x-request-id"] == sent
    assert {record["level"] for record in faulty.wait_for_request(sent)} == {"CRITICAL", "INFO"}


@pytest.mark.parametrize(
    "sent", [b"", b"x" * 129, b"x" * 16_000, b"a b", b"a\tb", b"\xc3\xa9", b'a"b', b"a%0d%0ab"]
)
def test_invalid_id_is_replaced(faulty: Service, sent: bytes) -> None:
    """An id that could do harm is neither sent back nor logged."""
    response = faulty.get("/health/live", headers={b"X-Request-ID": sent})
    correlation_id = response.headers["x-request-id"]
    assert correlation_id.encode() != sent
    assert len(correlation_id) == 32
    assert [record["status"] for record in faulty.wait_for_request(correlation_id)] == [200]


def test_path_cannot_forge_a_line(faulty: Service) -> None:
    """A line break in a path stays within its line of the log."""
    response = faulty.get('/x%0d%0a{"level":"CRITICAL","logger":"access"}')
    (line,) = faulty.wait_for_request(response.headers["x-request-id"])
    assert line["level"] == "INFO"
    assert line["path"] == '/x\r\n{"level":"CRITICAL","logger":"access"}'


def test_every_record_has_the_id_of_its_own_request(faulty: Service) -> None:
    """The id follows a request through threads, tasks and libraries, for 200 requests at once."""

    def request(correlation_id: str) -> None:
        headers = {"X-Request-ID": correlation_id}
        faulty.get("/ids", params={"wait": 0.05}, headers=headers)

    sent = [f"many-{number}" for number in range(200)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(request, sent))
    faulty.wait(lambda records: sum(r["message"] == "background" for r in records) >= 200)
    records = faulty.records()
    expected = {"endpoint", "task", "executor", "thread", "library", "background", "request"}
    for correlation_id in sent:
        messages = [r["message"] for r in records if r["correlation_id"] == correlation_id]
        assert len(messages) == len(expected)
        assert set(messages) == expected


def test_id_is_passed_on_to_another_service(faulty: Service) -> None:
    """A call to another service sends the id of the request along."""
    with running() as other:
        headers = {"X-Request-ID": "relayed"}
        response = faulty.get("/relay", params={"to": other.url}, headers=headers)
        assert response.json() == 404
        records = other.wait_for_request("relayed")
    assert [(record["path"], record["status"]) for record in records] == [("/nowhere", 404)]


# Logs.


def test_secrets_are_redacted_wherever_they_are_logged(faulty: Service) -> None:
    """Passwords in URLs and values of fields with secret names do not reach the log."""
    response = faulty.get("/log")
    (record,) = failures(faulty.wait_for_request(response.headers["x-request-id"]))
    assert record["message"] == "cannot reach amqp://me:***@queue/x"
    assert record["password"] == "***"
    assert record["nested"] == {"api_key": "***"}
    assert record["text"] == "a\nb"


def test_every_line_is_a_record_of_one_form(faulty: Service) -> None:
    """Records of the service, the server and libraries are JSON with the same first fields."""
    faulty.wait_for_request(faulty.get("/log").headers["x-request-id"])
    records = faulty.records()
    first = ("timestamp", "level", "logger", "message", "correlation_id")
    assert {tuple(record)[:5] for record in records} == {first}
    loggers = {record["logger"] for record in records}
    assert {"access", "errors", "some.library", "uvicorn.error"} <= loggers
    for record in records:
        assert datetime.fromisoformat(record["timestamp"]).utcoffset() == timedelta(0)
    assert faulty.errors == []
