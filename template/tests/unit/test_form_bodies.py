"""What a form holds reaches the log without secrets, however it was sent."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Body
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from src.airtight.application import AirtightAPI
from src.airtight.logging import configure_logging, restore_exception_hooks

SECRET = "hunter22"
MULTIPART = (
    b"--x\r\n"
    b'Content-Disposition: form-data; name="name"\r\n\r\nann\r\n'
    b"--x\r\n"
    b'Content-Disposition: form-data; name="password"\r\n\r\nhunter22\r\n'
    b"--x\r\n"
    b'Content-Disposition: form-data; name="api_key"; filename="a"\r\n'
    b"Content-Type: text/plain\r\n\r\nhunter22\r\n"
    b"--x--\r\n"
)
URL_ENCODED = "application/x-www-form-urlencoded"
NO_NAME = [{"type": "missing", "loc": ("body", "age"), "msg": "Field required", "input": None}]


class Person(BaseModel):
    """What the service expects as JSON."""

    name: str
    age: int


FORMS = {
    "pairs": FormData([("name", "ann"), ("password", SECRET)]),
    "repeated": FormData([("name", "ann"), ("password", "x"), ("password", SECRET)]),
    "upload": FormData([("name", "ann"), ("token", UploadFile(file=None, filename=SECRET))]),  # type: ignore[arg-type]
    "dict": {"name": "ann", "password": SECRET},
    "text": f"name=ann&password={SECRET}",
    "bytes": f"name=ann&user%5Bpassword%5D={SECRET}".encode(),
    "multipart": MULTIPART,
    "multipart-text": MULTIPART.decode(),
}


@pytest.fixture(autouse=True)
def log(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Log to stdout alone."""
    handlers = logging.root.handlers[:]
    logging.root.handlers = []
    configure_logging("info", "json")
    yield
    restore_exception_hooks()
    logging.root.handlers = handlers


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a service that expects JSON, or a form that lacks something."""
    app = AirtightAPI()

    @app.post("/json")
    async def read_json(person: Annotated[Person, Body()]) -> None: ...

    @app.post("/forms/{kind}")
    async def refuse_form(kind: str) -> None:
        raise RequestValidationError(NO_NAME, body=FORMS[kind])

    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def read_warning(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the only WARNING; no line shows the secret."""
    output = capfd.readouterr().out
    assert SECRET not in output
    records: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    (warning,) = [record for record in records if record["level"] == "WARNING"]
    return warning


@pytest.mark.parametrize("kind", FORMS)
async def test_form_that_lacks_a_field_is_logged_without_secrets(
    client: httpx2.AsyncClient, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """A form that FastAPI has read is shown, but for the values of secret names."""
    response = await client.post(f"/forms/{kind}")
    assert response.status_code == 422
    assert SECRET not in response.text
    warning = read_warning(capfd)
    assert "ann" in json.dumps(warning["body"])
    assert "***" in json.dumps(warning["body"])


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (URL_ENCODED, f"name=ann&password={SECRET}".encode()),
        (URL_ENCODED, f"name=ann&client_secret={SECRET}&age=1".encode()),
        (URL_ENCODED, f"name=ann&user[password]={SECRET}".encode()),
        ("multipart/form-data; boundary=x", MULTIPART),
        ("application/json", MULTIPART),
        ("text/plain", f"name=ann&password={SECRET}".encode()),
        ("application/json", b'{"name": "ann", "password": "%s", "age": ' % SECRET.encode()),
    ],
)
async def test_form_instead_of_json_is_logged_without_secrets(
    client: httpx2.AsyncClient, capfd: pytest.CaptureFixture[str], media_type: str, body: bytes
) -> None:
    """A form that was sent to a route for JSON is text, in which secrets are found as well."""
    response = await client.post("/json", content=body, headers={"Content-Type": media_type})
    assert response.status_code == 422
    assert SECRET not in response.text
    assert "ann" in json.dumps(read_warning(capfd)["body"])
