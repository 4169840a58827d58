"""Requests with keys, and what OpenAPI says of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.api.authentication import include_protected
from src.main import create_app
from src.utils.errors import NotAuthenticatedError
from tests.support.service import Service, assert_fields, copy_with, running

CHALLENGE = NotAuthenticatedError.headers["WWW-Authenticate"]
GUARDED = Path(__file__).parents[1] / "support" / "guarded.py"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with routes that say who calls."""
    folder = copy_with(GUARDED, tmp_path_factory.mktemp("guarded"))
    with running("-m", "uvicorn", "src.faulty:app", "--port", "PORT", cwd=folder) as service:
        yield service


def test_unknown_key_is_refused(service: Service) -> None:
    """A key that nobody has is a 401 that names the scheme; its record says why."""
    response = service.get("/whoami", headers={"X-API-Key": "hunter2"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == CHALLENGE
    assert str(NotAuthenticatedError.detail) in response.text
    records = service.records_of(response)
    (refused,) = [record for record in records if "error" in record]
    assert_fields(refused, level="INFO", error="NotAuthenticatedError", reason="unknown key")
    assert "hunter2" not in str(records)


def test_docs_know_the_header() -> None:
    """The scheme by which the button "Authorize" of `/docs` asks for a key."""
    app = create_app()
    include_protected(app, APIRouter(routes=[APIRoute("/whoami", lambda: None)]))
    schemes = app.openapi()["components"]["securitySchemes"]
    assert_fields(schemes["ApiKey"], type="apiKey", name="X-API-Key")
    assert schemes["ApiKey"]["in"] == "header"
