"""Whatever goes wrong with a request is answered and told exactly once, with its id."""

from typing import NamedTuple

import httpx2
import pytest

from tests.service import Record, Service, access, failures

pytestmark = pytest.mark.usefixtures("own_stores")


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
    Case("/own/teapot", 418, level="INFO", error="TeapotError", detail="Short and stout.", frames=None),
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
    correlation_id = response.headers["x-request-id"]
    # copier: if error_format == "message"
    expected: object = {"message": detail or "Internal server error"}
    media_type = "application/json"
    # copier: endif
    # copier: if error_format == "problem"
    expected = {"type": "about:blank", "title": response.json()["title"], "status": status}
    expected = expected | ({"detail": detail} if detail else {}) | {"correlation_id": correlation_id}
    media_type = "application/problem+json"
    # copier: endif
    assert (response.status_code, response.headers["content-type"]) == (status, media_type)
    assert response.json() == expected


def frames_of(record: Record) -> list[str]:
    """Return the files of the first traceback of a record."""
    return [line.split('"')[1] for line in record["exception"].splitlines() if line.strip().startswith("File ")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path}")
def test_error_is_answered_and_told_once(faulty: Service, case: Case) -> None:
    """A failed request has the right answer, one record, one access line and one id."""
    response = faulty.request(case.method, case.path, headers={"Origin": "http://a.example"})
    assert_body(response, case.status, case.detail)
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert "x-request-id" in response.headers["access-control-expose-headers"].lower()

    records = faulty.told(response.headers["x-request-id"])
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
