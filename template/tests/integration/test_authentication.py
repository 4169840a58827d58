"""A caller has to prove who it is, and each record of the request says it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from src.airtight.bodies import MEDIA_TYPE
from src.main import create_app
from tests.support.callers import SUBJECT, credentials, settings_for
from tests.support.service import (
    Record,
    Service,
    assert_fields,
    copy_with,
    failures,
    request_id,
    running,
)

GUARDED = Path(__file__).parents[1] / "support" / "guarded.py"
COMMAND = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
PROBES = "/health/"  # which anybody may ask
MESSAGES = {"in the endpoint", "in a thread", "in a background task", "request"}
NAMES = [f"caller-{number}" for number in range(200)]
READER = "reader"
SCOPE = "reports:read"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with routes that say who calls."""
    folder = copy_with(GUARDED, tmp_path_factory.mktemp("guarded"))
    with running(*COMMAND, cwd=folder, env=settings_for(SUBJECT, *NAMES)) as service:
        yield service


def without_credentials(service: Service, path: str, **headers: str) -> httpx2.Response:
    """Send a request that has no headers but these."""
    return httpx2.get(f"{service.url}{path}", headers=headers, timeout=30, verify=False)


def subjects(records: list[Record]) -> set[Any]:
    """Return whom records name."""
    return {record.get("subject") for record in records}


async def test_routes_are_closed_but_for_those_that_are_open() -> None:
    """Without credentials each operation is a 401, and its description says so; a few are open."""
    app = create_app()
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                is_open = path.startswith(PROBES)
                assert ("security" in operation) is not is_open
                assert ("401" in operation["responses"]) is not is_open
                if not is_open:
                    url = re.sub(r"\{\w+\}", str(uuid4()), path)
                    response = await client.request(method.upper(), url)
                    assert response.status_code == 401


def test_request_without_credentials_is_refused(service: Service) -> None:
    """The response says how to prove who calls; the one record names nobody."""
    response = without_credentials(service, "/whoami")
    assert response.status_code == 401
    assert response.headers["content-type"].startswith(MEDIA_TYPE)
    assert response.headers["www-authenticate"]
    records = service.records_of(response)
    assert subjects(records) == {None}
    (refused,) = [record for record in records if "error" in record]
    assert_fields(refused, level="INFO", error="NotAuthenticatedError", reason="no credentials")
    assert "exception" not in refused


def test_each_record_names_the_caller(service: Service) -> None:
    """What an endpoint, a thread and a background task log, and the access line."""
    response = service.get("/whoami")
    assert response.json() == SUBJECT
    number = request_id(response)
    service.wait(lambda _: len(service.records(number)) == len(MESSAGES))
    records = service.records(number)
    assert {record["message"] for record in records} == MESSAGES
    assert subjects(records) == {SUBJECT}


def test_failure_names_the_caller_in_its_record_alone(service: Service) -> None:
    """A crash has the subject in its record, and not in its response."""
    response = service.get("/crash")
    assert response.status_code == 500
    assert SUBJECT not in response.text
    records = service.records_of(response)
    assert [record["level"] for record in failures(records)] == ["CRITICAL"]
    assert subjects(records) == {SUBJECT}


def test_scope_that_is_missing_is_refused(service: Service) -> None:
    """Who is known, but may not do this, gets a 403; the record says who, and what is missing."""
    response = service.get("/reports")
    assert response.status_code == 403
    (refused,) = [record for record in service.records_of(response) if "error" in record]
    assert_fields(refused, level="INFO", error="MissingScopeError", scope=SCOPE, subject=SUBJECT)


def test_scope_opens_a_route(service: Service, tmp_path: Path) -> None:
    """Who has the scope gets in."""
    env = settings_for(READER, scopes=(SCOPE,))
    with running(*COMMAND, cwd=copy_with(GUARDED, tmp_path), env=env) as reading:
        headers = credentials(READER, SCOPE)
        response = without_credentials(reading, "/reports", **headers)
    assert response.status_code == 200
    assert response.json() == READER


async def test_callers_at_once_are_not_mixed_up(service: Service) -> None:
    """Of 200 callers at once each is answered as itself, and its records name it alone."""
    limits = httpx2.Limits(max_connections=50)
    async with httpx2.AsyncClient(
        base_url=service.url, limits=limits, timeout=60, verify=False
    ) as client:

        async def call(name: str) -> httpx2.Response:
            headers = credentials(name) | {"X-Request-ID": name}
            return await client.get("/whoami", headers=headers)

        responses = await asyncio.gather(*map(call, NAMES))
    assert [response.json() for response in responses] == NAMES
    service.wait_for_request(NAMES[0])
    records = service.wait(all_are_logged)
    for record in records:
        if record["correlation_id"] in NAMES:
            assert record["subject"] == record["correlation_id"]


def all_are_logged(records: list[Record]) -> bool:
    """Return whether each of the callers has its access line."""
    logged = {record["correlation_id"] for record in records if record["logger"] == "access"}
    return logged.issuperset(NAMES)


def test_log_holds_no_credentials(service: Service) -> None:
    """Neither a good request nor a refused one leaves its credentials in the log."""
    service.records_of(service.get("/crash"))
    wrong = {name: f"{value}xyz" for name, value in credentials(SUBJECT).items()}
    response = without_credentials(service, "/whoami", **wrong)
    assert response.status_code == 401
    service.records_of(response)
    log = "".join(service.lines)
    for secret in credentials().values():
        assert secret.removeprefix("Bearer ") not in log


def open_websocket(service: Service, **headers: str) -> ClientConnection:
    """Open a WebSocket with these headers."""
    url = service.url.replace("http", "ws")
    return connect(f"{url}/socket", additional_headers=headers, proxy=None)


def test_websocket_is_closed_as_well(service: Service) -> None:
    """The handshake needs credentials, as a request does."""
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(service)
    assert refused.value.response.status_code == 401
    with open_websocket(service, **credentials()) as websocket:
        assert websocket.recv(timeout=30) == SUBJECT
