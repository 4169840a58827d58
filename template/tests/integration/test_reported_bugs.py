"""Ways to fail that users of FastAPI have reported are handled like any other."""

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.test_escapes import assert_body, files_in
from tests.support.service import LIMITED, Record, Service, access, copy_with, failures, running

ROUTES = Path(__file__).with_name("faulty_more.py")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function that starts an application of `faulty_more` by its name."""
    folder = copy_with(ROUTES, tmp_path_factory.mktemp("reported"))

    def start_application(name: str, *options: str) -> Any:
        command = ("-m", "uvicorn", f"src.faulty:{name}", "--port", "PORT", *LIMITED, *options)
        return running(*command, cwd=folder)

    return start_application


@pytest.fixture(scope="module")
def service(start: Callable[..., Any]) -> Iterator[Service]:
    """A service with routes that go wrong."""
    with start("app") as service:
        yield service


def records_of(service: Service, response: httpx2.Response) -> list[Record]:
    """Return all records of a request that has ended."""
    return service.wait_for_request(response.headers["x-request-id"])


def failures_of(service: Service, response: httpx2.Response) -> list[tuple[str, Any]]:
    """Return level and error of each failure in the records of a request that has ended."""
    return [(r["level"], r.get("error")) for r in failures(records_of(service, response))]


def statuses_of(service: Service, response: httpx2.Response) -> list[int]:
    """Return the status in each access line of a request that has ended."""
    correlation_id = response.headers["x-request-id"]
    return [r["status"] for r in access(service.wait_for_request(correlation_id), correlation_id)]


def wait_for_failure(service: Service, response: httpx2.Response) -> None:
    """Wait for the record of a failure that comes after the response."""
    correlation_id = response.headers["x-request-id"]
    service.wait(
        lambda records: [r for r in failures(records) if r["correlation_id"] == correlation_id],
        timeout=10,
    )


# Errors that refer to each other.


@pytest.fixture(scope="module")
def fragile_service(start: Callable[..., Any]) -> Iterator[Service]:
    """A service for requests that could stop it."""
    with start("app") as service:
        service.client.timeout = 10
        yield service


@pytest.mark.parametrize(
    ("path", "status", "level", "error"),
    [
        ("/circular-from-itself", 500, "CRITICAL", "LookupError"),
        ("/circular/own-cause", 500, "CRITICAL", "LookupError"),
        ("/circular/causes", 500, "CRITICAL", "LookupError"),
        ("/circular/many-causes", 500, "CRITICAL", "LookupError"),
        ("/circular/own-context", 500, "CRITICAL", "LookupError"),
        ("/circular/contexts", 500, "CRITICAL", "LookupError"),
        ("/circular/group", 500, "CRITICAL", "LookupError"),
        ("/circular/own-errors", 503, "ERROR", "UnavailableError"),
        ("/circular/chain", 500, "CRITICAL", "LookupError"),
        ("/circular/nested-groups", 500, "CRITICAL", "LookupError"),
        ("/circular/wide-groups", 500, "CRITICAL", "LookupError"),
    ],
)
def test_errors_that_refer_to_each_other_are_logged_once(
    fragile_service: Service, path: str, status: int, level: str, error: str
) -> None:
    """However causes, contexts and groups are linked, the walk over them ends."""
    response = fragile_service.get(path)
    assert response.status_code == status
    records = failures(records_of(fragile_service, response))
    assert [(r["level"], r["error"]) for r in records] == [(level, error)]
    assert error in records[0]["exception"]


# Validation errors that were not made by FastAPI.

INVALID = [
    "no-type",
    "no-loc",
    "no-msg",
    "empty-dict",
    "loc-is-text",
    "loc-is-none",
    "msg-is-a-number",
    "texts",
    "text",
    "nones",
    "none",
    "dict",
    "error",
    "nothing",
    "mixed",
]


@pytest.mark.parametrize("route", ["invalid", "invalid-body"])
@pytest.mark.parametrize("kind", INVALID)
def test_validation_error_raised_by_hand_is_a_422(service: Service, route: str, kind: str) -> None:
    """Whatever it holds, it is the client's fault, and one WARNING."""
    response = service.get(f"/{route}/{kind}")
    assert response.status_code == 422
    assert isinstance(response.json(), dict)
    assert failures_of(service, response) == [("WARNING", "RequestValidationError")]
    assert statuses_of(service, response) == [422]


@pytest.mark.parametrize("kind", INVALID)
def test_response_validation_error_raised_by_hand_is_a_500(service: Service, kind: str) -> None:
    """Whatever it holds, it is a bug, and one CRITICAL."""
    response = service.get(f"/invalid-response/{kind}")
    assert_body(response, 500, None)
    assert failures_of(service, response) == [("CRITICAL", "ResponseValidationError")]


# Errors that come too late to change the response.

LATE = {
    "http": ("ERROR", "HTTPException"),
    "http-server-error": ("ERROR", "HTTPException"),
    "http-group": ("ERROR", "HTTPException"),
    "own": ("ERROR", "TeapotError"),
    "own-group": ("ERROR", "TeapotError"),
    "invalid": ("ERROR", "RequestValidationError"),
    "crash": ("CRITICAL", "LookupError"),
}


def read_until_cut(service: Service, path: str) -> httpx2.Response:
    """Read a stream of which the client has to see that it is incomplete."""
    with httpx2.stream("GET", service.url + path, verify=False) as response:
        chunks = response.iter_raw()
        assert b"first" in next(chunks)
        with pytest.raises(httpx2.RemoteProtocolError):
            list(chunks)
    return response


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("route", ["stream", "stream-in-thread"])
def test_stream_that_fails_with_any_status_is_cut_and_logged_once(
    service: Service, route: str, kind: str
) -> None:
    """An error that cannot be sent to the client any more is logged, whatever its status."""
    response = read_until_cut(service, f"/late/{route}/{kind}")
    assert failures_of(service, response) == [LATE[kind]]
    assert statuses_of(service, response) == [200]


def read_events(service: Service, path: str) -> httpx2.Response:
    """Read as many events as arrive; FastAPI may end the stream before it raises the error."""
    with (
        httpx2.stream("GET", service.url + path, verify=False) as response,
        contextlib.suppress(httpx2.RemoteProtocolError),
    ):
        response.read()
    return response


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("route", ["events", "events-in-thread"])
def test_event_stream_that_fails_with_any_status_is_logged_once(
    service: Service, route: str, kind: str
) -> None:
    """An error in a stream of events is logged, whatever its status."""
    response = read_events(service, f"/late/{route}/{kind}")
    wait_for_failure(service, response)
    assert failures_of(service, response) == [LATE[kind]]
    assert statuses_of(service, response) == [200]


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("route", ["background", "dependency"])
def test_failure_of_any_status_after_the_response_is_logged_once(
    service: Service, route: str, kind: str
) -> None:
    """What fails after the response is logged, whatever its status."""
    response = service.get(f"/late/{route}/{kind}")
    assert (response.status_code, response.json()) == (200, "first")
    wait_for_failure(service, response)
    assert failures_of(service, response) == [LATE[kind]]


# Background tasks of which one fails.


@pytest.mark.parametrize(
    ("path", "level", "not_run"),
    [
        ("/background/crash", "CRITICAL", {"send_mail", "update_statistics"}),
        ("/background/own", "ERROR", {"update_statistics"}),
        ("/background/second", "CRITICAL", {"send_mail"}),
        ("/background/last", "CRITICAL", set()),
    ],
)
def test_record_of_a_background_task_names_those_that_did_not_run(
    service: Service, path: str, level: str, not_run: set[str]
) -> None:
    """The record of a failed task says which tasks it has prevented from running."""
    response = service.get(path)
    assert response.json() == "accepted"
    wait_for_failure(service, response)
    (record,) = failures(records_of(service, response))
    assert record["level"] == level
    fields = str({name: value for name, value in record.items() if name != "exception"})
    assert {name for name in ("send_mail", "update_statistics") if name in fields} == not_run


# Responses that no server can send.


@pytest.mark.parametrize(
    "path",
    [
        "/unsendable/line-feed",
        "/unsendable/carriage-return",
        "/unsendable/nul",
        "/unsendable/name-with-space",
        "/unsendable/name-with-colon",
        "/unsendable/empty-name",
        "/unsendable/stream",
        "/unsendable/status-999",
        "/unsendable/status-0",
        "/unsendable/status-600",
        "/unsendable/status-text",
        "/unsendable/content-length",
        "/unsendable-error/http",
        "/unsendable-error/own",
    ],
)
def test_response_that_cannot_be_sent_is_a_500(service: Service, path: str) -> None:
    """As long as nothing was sent, the client gets a 500, and the log says so."""
    response = service.get(path)
    assert_body(response, 500, None)
    assert [level for level, _ in failures_of(service, response)] == ["CRITICAL"]
    assert statuses_of(service, response) == [500]


@pytest.mark.parametrize(
    "path",
    [
        "/unsendable-accept/value",
        "/unsendable-accept/name",
        "/unsendable-accept/text",
        "/unsendable-refusal/status",
        "/unsendable-refusal/header",
    ],
)
def test_handshake_that_cannot_be_sent_is_a_500(service: Service, path: str) -> None:
    """A WebSocket whose handshake cannot be sent is refused with a 500, and the log says so."""
    status, correlation_id = refused_socket(service, path)
    assert status == 500
    records = service.wait_for_request(correlation_id)
    assert [r["level"] for r in failures(records)] == ["CRITICAL"]
    assert [r["status"] for r in access(records, correlation_id)] == [500]


@pytest.mark.parametrize("status", [404, 502])
@pytest.mark.parametrize("kind", ["length", "longer", "type", "encoding", "chunked"])
def test_headers_of_another_body_are_not_sent(service: Service, status: int, kind: str) -> None:
    """What describes the body of another response is left out; other headers are kept."""
    response = service.get(f"/upstream/{status}/{kind}")
    assert_body(response, status, "upstream failed")
    assert response.headers["x-upstream"] == "kept"
    assert failures_of(service, response) == ([("ERROR", "HTTPException")] * (status >= 500))
    assert statuses_of(service, response) == [status]


# Errors with a cause.


@pytest.mark.parametrize(
    ("kind", "status", "detail", "records"),
    [
        ("410-from-own", 410, "gone", []),
        ("400-from-teapot", 400, "bad", []),
        ("404-from-key-error", 404, "no such thing", []),
        ("422-from-value-error", 422, "not so", []),
        ("503-from-key-error", 503, "later", [("ERROR", "HTTPException")]),
        ("500-from-teapot", 500, "chosen", [("ERROR", "HTTPException")]),
        ("own-from-http", 418, "Short and stout.", []),
        ("crash-from-http", 500, None, [("CRITICAL", "LookupError")]),
    ],
)
def test_error_that_was_raised_decides_and_not_its_cause(
    service: Service, kind: str, status: int, detail: str | None, records: list[tuple[str, str]]
) -> None:
    """Status, body and level are those of the error that was raised."""
    response = service.get(f"/caused/{kind}")
    assert_body(response, status, detail)
    assert failures_of(service, response) == records
    assert statuses_of(service, response) == [status]


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("dict", {"code": 7, "reason": "taken"}),
        ("list", ["taken", {"by": "ann"}]),
        ("empty-dict", {}),
        ("empty-list", []),
        ("zero", 0),
        ("false", False),
        ("number", 2.5),
        ("empty", ""),
        ("text", "taken"),
    ],
)
def test_detail_of_an_http_exception_reaches_the_client(
    service: Service, kind: str, detail: object
) -> None:
    """A detail of any type is in the body, also one that is false."""
    response = service.get(f"/detail/{kind}")
    assert response.status_code == 409
    values = response.json().values()
    assert [value for value in values if type(value) is type(detail) and value == detail]


# Mounted applications.

MOUNTS = {
    "/router/mounted": "fastapi",
    "/one/two/deep": "fastapi",
    "/wrapped": "fastapi",
    "/group/inner": "fastapi",
    "/starlette": "starlette",
    "/routes": "starlette",
}


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(
    ("path", "status", "detail", "records"),
    [
        ("/own", 503, None, [("ERROR", "UnavailableError")]),
        ("/teapot", 418, "Short and stout.", []),
        ("/crash", 500, None, [("CRITICAL", "LookupError")]),
        ("/http", 403, "not you", []),
        ("/nowhere", 404, "Not Found", []),
    ],
)
def test_errors_of_mounted_applications_are_like_any_other(
    service: Service,
    mount: str,
    path: str,
    status: int,
    detail: str | None,
    records: list[tuple[str, str]],
) -> None:
    """Wherever an application is mounted, its errors have our body, one record and one status."""
    response = service.get(mount + path)
    assert_body(response, status, detail)
    assert failures_of(service, response) == records
    assert statuses_of(service, response) == [status]


@pytest.mark.parametrize("mount", [mount for mount, kind in MOUNTS.items() if kind == "fastapi"])
def test_invalid_request_to_a_mounted_application(service: Service, mount: str) -> None:
    """Wherever an application is mounted, its 422 is ours, without the rejected value."""
    response = service.get(f"{mount}/invalid", params={"number": "hunter2"})
    assert response.status_code == 422
    assert "hunter2" not in response.text
    assert failures_of(service, response) == [("WARNING", "RequestValidationError")]
    assert service.get(f"{mount}/fine").json() == "fine"


@pytest.mark.parametrize(
    ("path", "status", "records"),
    [
        ("/v2/fine", 200, []),
        ("/v2/own", 418, []),
        ("/v2/crash", 500, [("CRITICAL", "LookupError")]),
        ("/v2/nowhere", 404, []),
        ("/v2/health/live", 200, []),
    ],
)
def test_service_that_is_mounted_in_the_service(
    service: Service, path: str, status: int, records: list[tuple[str, str]]
) -> None:
    """A request that passes two error boundaries has one id, one access line and one record."""
    response = service.get(path, headers={"X-Request-ID": f"mounted{path}"})
    assert response.status_code == status
    assert response.headers.get_list("x-request-id") == [f"mounted{path}"]
    assert failures_of(service, response) == records
    lines = access(records_of(service, response), f"mounted{path}")
    assert [(r["path"], r["status"]) for r in lines] == [(path, status)]


@pytest.mark.parametrize(
    ("path", "status", "records"),
    [
        ("fine", 200, []),
        ("own", 418, []),
        ("crash", 500, [("CRITICAL", "LookupError")]),
        ("nowhere", 404, []),
    ],
)
def test_service_that_is_called_in_process(
    service: Service, path: str, status: int, records: list[tuple[str, str]]
) -> None:
    """A call in-process belongs to the request that makes it, which continues as before."""
    response = service.get(f"/in-process/{path}")
    assert response.json() == status
    assert failures_of(service, response) == records
    correlation_id = response.headers["x-request-id"]
    lines = access(records_of(service, response), correlation_id)
    assert [(r["path"], r["status"]) for r in lines] == [(f"/in-process/{path}", 200)]
    assert "after the call" in [r["message"] for r in records_of(service, response)]

    response = service.get(f"/in-process-then-crash/{path}")
    assert response.status_code == 500
    assert failures_of(service, response) == [*records, ("CRITICAL", "LookupError")]
    assert statuses_of(service, response) == [500]


# Limits of bodies.


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/large/bytes", 2_000_000, 200),
        ("/large/bytes", 3_000_001, 413),
        ("/large/small", 10, 200),
        ("/large/small", 11, 413),
        ("/small/bytes", 10, 200),
        ("/small/bytes", 11, 413),
        ("/small/large", 2_000_000, 200),
        ("/small/large", 3_000_001, 413),
        ("/default/bytes", 1_000_000, 200),
        ("/default/bytes", 1_000_001, 413),
    ],
)
def test_limit_of_a_route_or_router_wins(
    service: Service, path: str, size: int, status: int, chunked: bool
) -> None:
    """A route's or router's `max_body_size` wins, above and below MAX_BODY_SIZE."""
    pieces = (b"x" * min(65_536, size - start) for start in range(0, size, 65_536))
    response = service.request("POST", path, content=pieces if chunked else b"x" * size)
    assert response.status_code == status
    if status == 200:
        assert response.json() == size
        assert failures_of(service, response) == []
    else:
        assert_body(response, 413, response.json().get("detail") or response.json().get("message"))
        assert [level for level, _ in failures_of(service, response)] == ["WARNING"]
    assert statuses_of(service, response) == [status]


def test_limit_of_a_router_holds_for_parsed_bodies(service: Service) -> None:
    """The limit holds where FastAPI reads the body, too."""
    body = {"text": "x" * 2_000_000}
    assert service.request("POST", "/large/fields", json=body).json() == 1
    response = service.request("POST", "/small/fields", json=body)
    assert response.status_code == 413
    assert [level for level, _ in failures_of(service, response)] == ["WARNING"]


# Ids.


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Request-ID", "valid")],
        [("X-Request-ID", "not valid")],
        [("X-Request-ID", "x" * 129)],
        [("x-request-id", "first"), ("X-Request-ID", "second")],
        [("X-REQUEST-ID", "first"), ("X-Request-ID", "not valid")],
    ],
)
def test_endpoint_sees_the_id_that_is_logged(
    service: Service, headers: list[tuple[str, str]]
) -> None:
    """The headers of the request hold the id of the log and of the response, and no other."""
    response = service.get("/id/headers", headers=headers)
    assert response.json() == response.headers.get_list("x-request-id")
    assert len(response.json()) == 1
    assert "endpoint" in [r["message"] for r in records_of(service, response)]


def test_id_that_an_endpoint_sets_does_not_hide_the_id(service: Service) -> None:
    """A response has one id, that of the log."""
    response = service.get("/id/response", headers={"X-Request-ID": "from-client"})
    assert response.headers.get_list("x-request-id") == ["from-client"]
    assert statuses_of(service, response) == [200]


# Probes.


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_head_on_a_probe_is_like_get(service: Service, path: str) -> None:
    """Load balancers that use HEAD get what GET gives, without the body."""
    get = service.get(path)
    head = service.request("HEAD", path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    for name in ("content-type", "content-length", "retry-after"):
        assert head.headers.get(name) == get.headers.get(name)


# Exits.


@pytest.mark.parametrize(
    "kind",
    ["system-exit", "keyboard-interrupt", "cancelled", "own", "group"],
)
@pytest.mark.parametrize("route", ["endpoint", "thread", "dependency"])
def test_exit_raised_by_an_endpoint_is_one_failed_request(
    fragile_service: Service, route: str, kind: str
) -> None:
    """What would end the process fails the request, is logged once, and the server goes on."""
    response = fragile_service.get(f"/exit/{route}/{kind}")
    assert_body(response, 500, None)
    assert [level for level, _ in failures_of(fragile_service, response)] == ["CRITICAL"]
    assert statuses_of(fragile_service, response) == [500]


@pytest.mark.parametrize("kind", ["system-exit", "keyboard-interrupt", "own"])
def test_exit_raised_after_the_response_is_logged_once(fragile_service: Service, kind: str) -> None:
    """What would end the process from a background task is logged once, and the server goes on."""
    # The server closes the connection; a request that came on it meanwhile would see a reset.
    headers = {"Connection": "close"}
    response = fragile_service.get(f"/exit/background/{kind}", headers=headers)
    assert (response.status_code, response.json()) == (200, "accepted")
    wait_for_failure(fragile_service, response)
    assert [level for level, _ in failures_of(fragile_service, response)] == ["CRITICAL"]


# WebSockets.


def open_socket(service: Service, path: str) -> str:
    """Open and close a WebSocket, and return the id of its request."""
    with connect(service.url.replace("http", "ws") + path) as websocket:
        assert websocket.response is not None
        correlation_id: str = websocket.response.headers["x-request-id"]
        with contextlib.suppress(ConnectionClosed):
            websocket.send("hello")
            websocket.recv(timeout=10)
    return correlation_id


def refused_socket(service: Service, path: str) -> tuple[int, str]:
    """Try to open a WebSocket, and return status and id of the refusal."""
    with pytest.raises(InvalidStatus) as caught:
        connect(service.url.replace("http", "ws") + path)
    response = caught.value.response
    return response.status_code, response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/sockets/echo/ann", "/v1/sockets/echo/{name}"),
        ("/v1/sockets/crash-after-accept/ann", "/v1/sockets/crash-after-accept/{name}"),
    ],
)
def test_websocket_of_a_router_has_its_route(service: Service, path: str, route: str) -> None:
    """Records of a WebSocket say which route it took, with the prefixes of its routers."""
    records = service.wait_for_request(open_socket(service, path))
    routes = [r["route"] for r in records if "route" in r]
    assert routes
    assert set(routes) == {route}


def test_refused_websocket_of_a_router_has_its_route(service: Service) -> None:
    """Records of a WebSocket that fails before it is accepted say which route it took."""
    status, correlation_id = refused_socket(service, "/v1/sockets/crash/ann")
    assert status == 500
    routes = [r["route"] for r in service.wait_for_request(correlation_id) if "route" in r]
    assert routes == ["/v1/sockets/crash/{name}"] * 2


# copier: if "prometheus" in observability
def test_websocket_of_a_router_is_counted_by_its_route(service: Service) -> None:
    """The numbers of a WebSocket go by the template of its path."""
    service.wait_for_request(open_socket(service, "/v1/sockets/echo/bob"))
    lines = service.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("http_request_duration_seconds_count")]
    assert [line for line in counted if 'route="/v1/sockets/echo/{name}"' in line]
    assert not [line for line in counted if "bob" in line]


# copier: endif
@pytest.mark.parametrize(
    ("path", "status", "records"),
    [
        ("/v1/sockets/unauthorised", 401, []),
        ("/v1/sockets/invalid?count=hunter2", None, ["WARNING"]),
        ("/v1/sockets/refused", 403, []),
        ("/v1/sockets/closed", 403, []),
    ],
)
def test_handled_error_on_a_websocket_does_not_reach_middleware(
    service: Service, path: str, status: int | None, records: list[str]
) -> None:
    """What a handler handles goes no further, so that no middleware sees a rejected value."""
    found, correlation_id = refused_socket(service, path)
    assert found in ({status} if status else {403, 422})
    assert [r["level"] for r in failures(service.wait_for_request(correlation_id))] == records
    assert [error for error in service.get("/seen").json() if error.startswith(path[:15])] == []
    assert "hunter2" not in str(service.wait_for_request(correlation_id))


@pytest.mark.parametrize("kind", ["echo/ann", "push", "wait"])
def test_websocket_that_is_open_at_the_end_leaves_one_record(
    start: Callable[..., Any], kind: str
) -> None:
    """A WebSocket that is open at SIGTERM has one access line, and is at most one failure."""
    with start("app", "--timeout-graceful-shutdown", "1") as service:
        with connect(f"{service.url.replace('http', 'ws')}/v1/sockets/{kind}") as websocket:
            assert websocket.response is not None
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(timeout=30)
        service.stop()
    assert_one_failure_at_most(service, websocket.response.headers["x-request-id"])


@pytest.mark.parametrize("kind", ["push", "wait", "events"])
def test_stream_that_is_open_at_the_end_leaves_one_record(
    start: Callable[..., Any], kind: str
) -> None:
    """A stream that is open at SIGTERM has one access line, and is at most one failure."""
    with start("app", "--timeout-graceful-shutdown", "1") as service:
        with httpx2.stream("GET", f"{service.url}/open/{kind}", verify=False) as response:
            chunks = response.iter_raw()
            assert b"first" in next(chunks)
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(timeout=30)
        service.stop()
    assert_one_failure_at_most(service, response.headers["x-request-id"])


def assert_one_failure_at_most(service: Service, correlation_id: str) -> None:
    """A request has one access line, and there is at most one failure, which is the request's."""
    assert len(access(service.records(), correlation_id)) == 1
    found = failures(service.records())
    assert [r["correlation_id"] for r in found] in ([], [correlation_id])
    assert service.errors == []


# Handlers of the user's own.


@pytest.fixture(scope="module")
def services(start: Callable[..., Any]) -> Iterator[Callable[[str], Service]]:
    """A function that gives a service that runs an application, started when it is first needed."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def service_of(name: str) -> Service:
            running_service: Service = stack.enter_context(start(name))
            return running_service

        yield service_of


@pytest.mark.parametrize(
    ("application", "path", "handled", "records"),
    [
        ("handlers_by_status", "/crash", "LookupError", ["CRITICAL"]),
        ("handlers_by_status", "/http", "HTTPException", []),
        ("handlers_by_status", "/nowhere", "HTTPException", []),
        ("handlers_by_class", "/crash", "LookupError", ["CRITICAL"]),
        ("handlers_by_class", "/teapot", "TeapotError", []),
        ("handlers_by_class", "/http", "HTTPException", []),
        ("handlers_by_class", "/nowhere", "HTTPException", []),
        ("handlers_by_class", "/invalid?number=x", "RequestValidationError", None),
        ("handlers_of_libraries", "/crash", "by a library", ["CRITICAL"]),
        ("handlers_of_libraries", "/teapot", "by a library", []),
        ("handlers_of_libraries", "/own", "by a library", None),
        ("handlers_of_libraries", "/http", "by a library", []),
        ("handlers_of_libraries", "/nowhere", "by a library", []),
        ("handlers_of_libraries", "/invalid?number=x", "by a library", None),
        ("handlers_of_fastapi", "/by-status/crash", "LookupError", ["CRITICAL"]),
        ("handlers_of_fastapi", "/by-class/crash", "LookupError", ["CRITICAL"]),
        ("handlers_of_fastapi", "/between/by-status/crash", "LookupError", ["CRITICAL"]),
        ("handlers_of_fastapi", "/between/by-class/crash", "LookupError", ["CRITICAL"]),
    ],
)
def test_handler_of_the_user_wins(
    services: Callable[[str], Service],
    application: str,
    path: str,
    handled: str,
    records: list[str] | None,
) -> None:
    """However and wherever it was registered, and wherever it comes from, a handler is used."""
    service = services(application)
    response = service.get(path)
    assert (response.status_code, response.json()) == (460, {"handled": handled})
    assert statuses_of(service, response) == [460]
    levels = [level for level, _ in failures_of(service, response)]
    assert levels == levels[:1]
    if records is not None:
        assert levels == records


@pytest.mark.parametrize("path", ["/bytes", "/body-ignored"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("application", ["handlers_by_status", "handlers_by_class"])
def test_handler_of_a_large_body_wins(
    services: Callable[[str], Service], application: str, chunked: bool, path: str
) -> None:
    """A handler for 413 is used whether the size was declared or not, if the body is refused."""
    service = services(application)
    pieces = (b"x" * 100_000 for _ in range(20))
    content = pieces if chunked else b"x" * 2_000_000
    response = service.request("POST", path, content=content)
    if chunked and path == "/body-ignored" and response.status_code == 200:
        return  # nobody has looked at the body
    assert response.status_code == 460
    assert response.headers["x-handled"] == "yes"
    assert statuses_of(service, response) == [460]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/http", 403, {"detail": "not you"}),
        ("/nowhere", 404, {"detail": "Not Found"}),
    ],
)
def test_handler_of_fastapi_that_is_registered_wins(
    services: Callable[[str], Service], path: str, status: int, body: object
) -> None:
    """FastAPI's own handlers are used where they were registered on purpose."""
    response = services("handlers_of_fastapi").get(path)
    assert (response.status_code, response.json()) == (status, body)


def test_handler_of_fastapi_for_invalid_requests_wins(
    services: Callable[[str], Service],
) -> None:
    """FastAPI's own 422 is used where its handler was registered on purpose."""
    response = services("handlers_of_fastapi").get("/invalid", params={"number": "x"})
    assert response.status_code == 422
    assert [error["input"] for error in response.json()["detail"]] == ["x"]


# The middleware that FastAPI's documentation shows.


@pytest.fixture(scope="module", params=["one_middleware", "two_middlewares", "middleware_class"])
def service_with_middleware(
    request: pytest.FixtureRequest, start: Callable[..., Any]
) -> Iterator[Service]:
    """A service with `@app.middleware("http")`, or the like."""
    with start(request.param) as service:
        yield service


@pytest.mark.parametrize(
    ("path", "status", "level", "error"),
    [
        ("/crash/async", 500, "CRITICAL", "LookupError"),
        ("/crash/sync", 500, "CRITICAL", "LookupError"),
        ("/crash/dependency", 500, "CRITICAL", "LookupError"),
        ("/own", 503, "ERROR", "UnavailableError"),
    ],
)
def test_traceback_of_a_crash_behind_middleware_is_ours(
    service_with_middleware: Service, path: str, status: int, level: str, error: str
) -> None:
    """The traceback holds the service's frames alone, and no group that only wraps the error."""
    response = service_with_middleware.get(path)
    assert_body(response, status, None)
    (record,) = failures(records_of(service_with_middleware, response))
    assert (record["level"], record["error"]) == (level, error)
    assert [file for file in files_in(record) if not file.endswith("src/faulty.py")] == []
    assert "ExceptionGroup" not in record["exception"]


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("route", ["stream", "stream-in-thread"])
def test_broken_stream_behind_middleware_is_cut(
    service_with_middleware: Service, route: str, kind: str
) -> None:
    """The client sees that a stream is incomplete, and there is one record."""
    response = read_until_cut(service_with_middleware, f"/{route}/{kind}")
    assert failures_of(service_with_middleware, response) == [LATE[kind]]
    assert statuses_of(service_with_middleware, response) == [200]


@pytest.mark.parametrize("kind", LATE)
def test_event_stream_behind_middleware_is_logged_once(
    service_with_middleware: Service, kind: str
) -> None:
    """An error in a stream of events is logged, whatever is between it and the server."""
    response = read_events(service_with_middleware, f"/events/{kind}")
    wait_for_failure(service_with_middleware, response)
    assert failures_of(service_with_middleware, response) == [LATE[kind]]
    assert statuses_of(service_with_middleware, response) == [200]
