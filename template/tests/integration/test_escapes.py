"""Whatever goes wrong with a request is answered and told exactly once, with its id."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from tests.support.service import Record, Service, access, failures, running


class Case(NamedTuple):
    """What is asked for, and what must come of it."""

    path: str
    status: int
    level: str | None = "CRITICAL"
    error: str | None = None
    detail: str | None = None
    frames: str | None = "faulty.py"
    method: str = "GET"


CASES = [
    Case("/crash/async", 500, error="ZeroDivisionError"),
    Case("/crash/sync", 500, error="KeyError"),
    Case("/crash/dependency", 500, error="KeyError"),
    Case("/crash/yield-early", 500, error="KeyError"),
    Case("/crash/response-model", 500, error="ResponseValidationError", frames=None),
    Case("/crash/nan", 500, error="ValueError"),
    Case("/crash/unserialisable", 500, frames=None),
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
    Case("/silent/", 500, level="ERROR", error="APIError", frames=None),
    Case("/own/unavailable", 503, level="ERROR", error="UnavailableError"),
    Case("/own/group-of-one", 503, level="ERROR", error="UnavailableError"),
    Case("/own/logged-by-library", 503, level="ERROR"),
    Case(
        "/own/teapot",
        418,
        level="INFO",
        error="TeapotError",
        detail="Short and stout.",
        frames=None,
    ),
    Case("/middleware/own", 503, level="ERROR", error="UnavailableError"),
    Case("/mounted/own", 503, level="ERROR", error="UnavailableError"),
    Case("/http/dependency", 401, level=None, detail="who are you?"),
    Case("/http/500", 500, level="ERROR", error="HTTPException", detail="chosen"),
    Case("/middleware/http", 403, level=None, detail="not you"),
    Case("/nowhere", 404, level=None, detail="Not Found"),
    Case("/mounted/nowhere", 404, level=None, detail="Not Found"),
    Case("/own/teapot", 405, level=None, detail="Method Not Allowed", method="DELETE"),
]


def assert_body(response: httpx2.Response, status: int, detail: str | None) -> None:
    """An error has the documented body, with the id that its header has."""
    # copier: if error_format == "message"
    expected: object = {"message": detail or "Internal server error"}
    media_type = "application/json"
    # copier: endif
    # copier: if error_format == "problem"
    expected = {"type": "about:blank", "title": response.json()["title"], "status": status}
    expected = expected | ({"detail": detail} if detail else {})
    expected = expected | {"correlation_id": response.headers["x-request-id"]}
    media_type = "application/problem+json"
    # copier: endif
    assert (response.status_code, response.headers["content-type"]) == (status, media_type)
    assert response.json() == expected


def frames_of(record: Record) -> list[str]:
    """Return the files of the first traceback of a record."""
    return [
        line.split('"')[1]
        for line in record["exception"].splitlines()
        if line.strip().startswith("File ")
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path}")
def test_error_is_answered_and_told_once(faulty: Service, case: Case) -> None:
    """A failed request has the right answer, one record, one access line and one id."""
    response = faulty.request(case.method, case.path, headers={"Origin": "http://a.example"})
    assert_body(response, case.status, case.detail)
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert "x-request-id" in response.headers["access-control-expose-headers"].lower()

    records = faulty.wait_for_request(response.headers["x-request-id"])
    (line,) = access(records, response.headers["x-request-id"])
    assert (line["method"], line["path"], line["status"]) == (case.method, case.path, case.status)
    told = [record for record in records if record is not line]
    assert [record["level"] for record in told] == ([case.level] if case.level else [])
    for record in told:
        assert case.error in (None, record.get("error"))
        assert ("exception" in record) is (record["level"] != "INFO")
        if case.frames and "exception" in record:
            assert frames_of(record)[0].endswith(f"src/{case.frames}"), record["exception"]


def test_headers_of_an_http_exception_are_kept(faulty: Service) -> None:
    """A 401 still says how to authenticate, a 405 what is allowed, a 503 when to come back."""
    assert faulty.get("/http/dependency").headers["www-authenticate"] == "Bearer"
    assert faulty.request("DELETE", "/own/teapot").headers["allow"] == "GET"
    assert faulty.get("/own/unavailable").headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("path", "level", "error"),
    [
        ("/after/background", "CRITICAL", "KeyError"),
        ("/after/background-sync", "CRITICAL", "KeyError"),
        ("/after/background-own", "ERROR", "UnavailableError"),
        ("/after/yield", "CRITICAL", "KeyError"),
    ],
)
def test_failure_after_the_answer_is_told_once(
    faulty: Service, path: str, level: str, error: str
) -> None:
    """What fails after the answer leaves the answer as it is, and is told with the request's id."""
    response = faulty.get(path)
    assert (response.status_code, response.json()) == (200, "answer")
    correlation_id = response.headers["x-request-id"]
    faulty.wait(
        lambda records: [r for r in failures(records) if r["correlation_id"] == correlation_id]
    )
    records = faulty.wait_for_request(correlation_id)
    assert [(r["level"], r["error"]) for r in failures(records)] == [(level, error)]
    assert [r["status"] for r in access(records, correlation_id)] == [200]


def test_failure_of_a_task_that_nobody_awaits_is_told_once(faulty: Service) -> None:
    """A task that fails on its own is told; with the id where Python knows of a task's context."""
    since = len(faulty.records())
    response = faulty.get("/after/task")
    assert response.json() == "answer"
    correlation_id = response.headers["x-request-id"]
    faulty.wait(lambda records: failures(records[since:]))
    faulty.wait_for_request(correlation_id)
    (told,) = failures(faulty.records()[since:])
    assert (told["level"], told["error"]) == ("CRITICAL", "KeyError")
    assert frames_of(told)[0].endswith("src/faulty.py")
    assert told["correlation_id"] == (correlation_id if sys.version_info >= (3, 12) else None)


@pytest.mark.parametrize(("path", "received"), [("/stream/first", 0), ("/stream/later", 100)])
def test_broken_stream_is_cut_and_told_once(faulty: Service, path: str, received: int) -> None:
    """A stream that fails is told once, and cut, so that the client does not take a part for the whole."""
    with httpx2.stream("GET", faulty.url + path) as response:
        chunks = response.iter_raw()
        body = next(chunks) if received else b""
        with pytest.raises(httpx2.RemoteProtocolError):
            next(chunks)
    assert (response.status_code, len(body)) == (200, received)
    told = failures(faulty.wait_for_request(response.headers["x-request-id"]))
    assert [(r["level"], r["error"]) for r in told] == [("CRITICAL", "KeyError")]
    assert frames_of(told[0])[0].endswith("src/faulty.py")


BODIES = [
    ("/body", b'{"name": ', "application/json", 422),
    ("/body", b'{"name": "ann", "amount": NaN}', "application/json", 422),
    ("/body", b"\x00\xff\xfe" * 1000, "application/json", 422),
    ("/body", b"\x00\xff\xfe" * 1000, "application/octet-stream", 422),
    ("/body", b'{"name": "bob the builder"}', "application/json", 422),
    ("/body", b"[" * 200_000, "application/json", 400),
    ("/body", b'{"name": 1, "junk": "%s"}' % (b"x" * 900_000), "application/json", 422),
    ("/body", b"a=1&b=2", "application/x-www-form-urlencoded", 422),
    (
        "/body",
        json.dumps({"name": 1, "junk": "😀" * 9_000}, ensure_ascii=False).encode(),
        "application/json",
        422,
    ),
    ("/body", b"x" * 2_000_000, "application/json", 413),
    ("/body/raw", b"x" * 2_000_000, "text/plain", 413),
    ("/body/ignored", b"x" * 2_000_000, "text/plain", 413),
]


@pytest.mark.parametrize(("path", "body", "kind", "status"), BODIES, ids=range(len(BODIES)))
def test_bad_body_is_refused_and_told_briefly(
    faulty: Service, path: str, body: bytes, kind: str, status: int
) -> None:
    """A body that cannot be used is the client's fault, and one short WARNING."""
    response = faulty.request("POST", path, content=body, headers={"Content-Type": kind})
    assert response.status_code == status
    correlation_id = response.headers["x-request-id"]
    told = failures(faulty.wait_for_request(correlation_id))
    assert [r["level"] for r in told] == ["WARNING"]
    line = next(line for line in faulty.lines if correlation_id in line and '"WARNING"' in line)
    assert len(line.encode()) <= 4_096


def test_body_without_a_length_is_limited_as_well(faulty: Service) -> None:
    """A body that arrives in chunks is refused as soon as it is too large."""
    chunks = (b"x" * 100_000 for _ in range(20))
    response = faulty.request("POST", "/body/raw", content=chunks)
    assert response.status_code == 413
    assert [
        r["level"] for r in failures(faulty.wait_for_request(response.headers["x-request-id"]))
    ] == ["WARNING"]


def test_rejected_values_and_secrets_are_not_repeated(faulty: Service) -> None:
    """Neither the answer nor the log repeats what was rejected or is secret."""
    sent = {"name": "bob hunter1", "password": ["hunter2"], "amount": "hunter3"}
    response = faulty.request("POST", "/body", json=sent)
    assert response.status_code == 422
    records = faulty.wait_for_request(response.headers["x-request-id"])
    assert not [word for word in ("hunter1", "hunter2", "hunter3") if word in response.text]
    (told,) = failures(records)
    assert "hunter2" not in str(told)
    assert [error["loc"] for error in told["errors"]] == [
        ["body", "name"],
        ["body", "password"],
        ["body", "amount"],
    ]
    response = faulty.get("/crash/response-model")
    assert (
        "hunter2"
        not in str(faulty.wait_for_request(response.headers["x-request-id"])) + response.text
    )


# Clients that leave.


def raw_request(service: Service, head: str) -> socket.socket:
    """Send the beginning of a request and return the connection."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head} HTTP/1.1\r\nHost: test\r\n".encode())
    return connection


def test_client_that_leaves_during_the_upload_is_no_error(faulty: Service) -> None:
    """A client that goes away while it sends is an access line with 499."""
    with raw_request(faulty, "POST /body") as connection:
        connection.sendall(
            b"X-Request-ID: left-upload\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
    records = faulty.wait_for_request("left-upload")
    assert [r["status"] for r in access(records, "left-upload")] == [499]
    assert failures(records) == []


def test_client_that_leaves_during_a_stream_is_no_error(faulty: Service) -> None:
    """A client that goes away while it receives is an access line with 499."""
    with raw_request(faulty, "GET /stream/endless") as connection:
        connection.sendall(b"X-Request-ID: left-stream\r\n\r\n")
        assert connection.recv(1000)
    records = faulty.wait_for_request("left-stream")
    assert [r["status"] for r in access(records, "left-stream")] == [499]
    assert failures(records) == []


# WebSockets.


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/ws/before", 500, "CRITICAL"),
        ("/ws/refused", 401, None),
        ("/ws/closed", 403, None),
        ("/ws/silent", 500, "ERROR"),
    ],
)
def test_failed_handshake_is_answered_and_told_once(
    faulty: Service, path: str, status: int, level: str | None
) -> None:
    """A WebSocket that is not accepted has an HTTP answer with the id."""
    with pytest.raises(InvalidStatus) as caught:
        connect(faulty.url.replace("http", "ws") + path)
    response = caught.value.response
    assert response.status_code == status
    records = faulty.wait_for_request(response.headers["x-request-id"])
    assert [r["level"] for r in failures(records)] == ([level] if level else [])
    assert [r["status"] for r in access(records, response.headers["x-request-id"])] == [status]


def test_crash_on_an_open_websocket_closes_it_with_1011(faulty: Service) -> None:
    """A WebSocket on which something fails is closed, and the failure told once with its id."""
    with (
        connect(faulty.url.replace("http", "ws") + "/ws/after") as websocket,
        pytest.raises(ConnectionClosedError) as caught,
    ):
        websocket.recv(timeout=10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert websocket.response is not None
    records = faulty.wait_for_request(websocket.response.headers["x-request-id"])
    assert [(r["level"], r["error"]) for r in failures(records)] == [("CRITICAL", "KeyError")]


def test_websocket_that_the_client_closes_is_no_error(faulty: Service) -> None:
    """A WebSocket that works leaves one access line."""
    with connect(faulty.url.replace("http", "ws") + "/ws/echo") as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=10) == "hello"
    assert websocket.response is not None
    records = faulty.wait_for_request(websocket.response.headers["x-request-id"])
    assert [r["status"] for r in access(records, websocket.response.headers["x-request-id"])] == [
        101
    ]
    assert failures(records) == []


# Ids.


@pytest.mark.parametrize("given", ["abc", "A-Z_0.9:/=+", "x" * 128])
def test_valid_id_is_kept(faulty: Service, given: str) -> None:
    """An id that the client sends is used for the answer and the records."""
    assert (
        faulty.get("/crash/async", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    )
    assert {r["level"] for r in faulty.wait_for_request(given)} == {"CRITICAL", "INFO"}


@pytest.mark.parametrize(
    "given", [b"", b"x" * 129, b"x" * 16_000, b"a b", b"a\tb", b"\xc3\xa9", b'a"b', b"a%0d%0ab"]
)
def test_bad_id_is_replaced(faulty: Service, given: bytes) -> None:
    """An id that could do harm is neither answered nor logged."""
    response = faulty.get("/health/live", headers={b"X-Request-ID": given})
    assert response.headers["x-request-id"].encode() != given
    assert len(response.headers["x-request-id"]) == 32
    assert [r["status"] for r in faulty.wait_for_request(response.headers["x-request-id"])] == [200]


def test_path_cannot_forge_a_line(faulty: Service) -> None:
    """A line break in a path stays within its line of the log."""
    forged = '/x%0d%0a{"level":"CRITICAL","logger":"access"}'
    response = faulty.get(forged)
    (line,) = faulty.wait_for_request(response.headers["x-request-id"])
    assert (line["level"], line["path"]) == ("INFO", '/x\r\n{"level":"CRITICAL","logger":"access"}')


def test_every_record_has_the_id_of_its_own_request(faulty: Service) -> None:
    """The id follows a request through threads, tasks and libraries, also among 200 at once."""
    given = [f"many-{number}" for number in range(200)]
    with ThreadPoolExecutor(50) as pool:
        list(
            pool.map(
                lambda i: faulty.get("/ids", params={"wait": 0.05}, headers={"X-Request-ID": i}),
                given,
            )
        )
    expected = {"endpoint", "task", "executor", "thread", "library", "background", "request"}
    faulty.wait(lambda records: sum(r["message"] == "background" for r in records) >= 200)
    records = faulty.records()
    for correlation_id in given:
        own = [r["message"] for r in records if r["correlation_id"] == correlation_id]
        assert (len(own), set(own)) == (len(expected), expected)


def test_id_is_passed_on_to_another_service(faulty: Service) -> None:
    """A request that leads to one of another service has the same id there."""
    with running() as other:
        assert (
            faulty.get(
                "/relay", params={"to": other.url}, headers={"X-Request-ID": "relayed"}
            ).json()
            == 404
        )
        records = other.wait_for_request("relayed")
    assert [(r["path"], r["status"]) for r in records] == [("/nowhere", 404)]


# Logs.


def test_secrets_are_masked_wherever_they_are_logged(faulty: Service) -> None:
    """Passwords in URLs and values of secret-named fields do not reach the log, whoever logs them."""
    (told,) = failures(faulty.wait_for_request(faulty.get("/tell").headers["x-request-id"]))
    assert told["message"] == "cannot reach amqp://me:***@queue/x"
    assert (told["password"], told["nested"], told["text"]) == ("***", {"api_key": "***"}, "a\nb")


def test_every_line_is_a_record_of_one_form(faulty: Service) -> None:
    """Our records, the server's and the libraries' are all JSON objects with the same first fields."""
    faulty.get("/tell")
    first = ["timestamp", "level", "logger", "message", "correlation_id"]
    assert {tuple(list(r)[:5]) for r in faulty.records()} == {tuple(first)}
    assert {"access", "errors", "some.library", "uvicorn.error"} <= {
        r["logger"] for r in faulty.records()
    }
    assert all(
        datetime.fromisoformat(r["timestamp"]).utcoffset() == timedelta(0) for r in faulty.records()
    )
    assert faulty.errors == []
