"""Requests with tokens of an issuer whose keys change, and which may be away."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter
from fastapi.routing import APIRoute

from dev.issuer import Issuer, KeyServer, settings_for
from dev.ports import free_port
from src.api.authentication import include_protected
from src.main import create_app
from src.utils.errors import InvalidTokenError
from tests.support.service import (
    TIMEOUT,
    Service,
    assert_fields,
    copy_with,
    failures,
    levels_and_errors,
    running,
)

GUARDED = Path(__file__).parents[1] / "support" / "guarded.py"
COMMAND = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
UNSIGNED = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}


class World:
    """A service, and the issuer whose tokens it accepts."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer(name="https://own.example.com", audience="shop")
        self._port = free_port()
        self._keys = contextlib.ExitStack()
        self._stack = contextlib.ExitStack()
        env = settings_for(self.issuer, f"http://127.0.0.1:{self._port}/keys")
        started = running(*COMMAND, cwd=copy_with(GUARDED, folder), env=env)
        self.service: Service = self._stack.enter_context(started)

    def show_keys(self) -> None:
        """Start the server of the issuer's keys."""
        self._keys.enter_context(KeyServer(self.issuer, self._port).running())

    def hide_keys(self) -> None:
        """Stop the server of the issuer's keys."""
        self._keys.close()

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()
        self.hide_keys()

    def call(self, token: str, path: str = "/whoami") -> httpx2.Response:
        """Send a request with a token, and with nothing else that says who calls."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.get(f"{self.service.url}{path}", headers=headers, timeout=30, verify=False)

    def assert_refused(self, token: str, reason: str) -> None:
        """A token is a 401 that says so, and one record that says why."""
        response = self.call(token)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        records = self.service.records_of(response)
        (refused,) = [record for record in records if "error" in record]
        assert_fields(refused, level="INFO", error=InvalidTokenError.__name__, reason=reason)
        assert not any(part in str(records) for part in token.split(".") if len(part) > 8)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a service whose issuer does not show its keys yet."""
    world = World(tmp_path)
    yield world
    world.close()


def test_token_that_proves_nothing_is_refused(world: World) -> None:
    """Tokens of another time or audience, without a signature, and what is no token."""
    world.show_keys()
    issuer = world.issuer
    good = issuer.claims("ann")
    assert world.call(issuer.sign(good)).json() == "ann"
    world.assert_refused(issuer.sign(good | {"exp": int(time.time()) - 600}), "expired")
    world.assert_refused(issuer.sign(good | {"aud": "another"}), "for another audience")
    world.assert_refused(issuer.sign(good | {"iss": "another"}), "of another issuer")
    claims = issuer.sign(good).split(".")[1]
    for token in (f"{UNSIGNED}.{claims}.", f"{UNSIGNED}.{claims}.AAAA"):
        world.assert_refused(token, "an algorithm that is not allowed")
    world.assert_refused("hunter2hunter2", "malformed")
    assert failures(world.service.records()) == []


def test_other_schemes_prove_nothing(world: World) -> None:
    """Without a bearer token the client is told that one is needed, and no key is fetched."""
    for value in ("Basic YTpi", "Bearer", ""):
        headers = {"Authorization": value}
        response = httpx2.get(
            f"{world.service.url}/whoami", headers=headers, timeout=30, verify=False
        )
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    assert world.issuer.fetches == 0


def test_scope_that_is_missing_is_named(world: World) -> None:
    """A 403 says that it is about scopes; with the scope the route is open."""
    world.show_keys()
    refused = world.call(world.issuer.token("ann", "reports:write"), "/reports")
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    token = world.issuer.token("ann", "reports:write", "reports:read")
    assert world.call(token, "/reports").json() == "ann"


def test_key_is_replaced(world: World) -> None:
    """A token of the new key is good at once, and one of the old key is not any more."""
    world.show_keys()
    old = world.issuer.token("ann")
    assert world.call(old).status_code == 200
    world.issuer.use(ec.generate_private_key(ec.SECP256R1()))
    new = world.issuer.token("ann")
    assert world.call(new).status_code == 200
    world.assert_refused(old, "an unknown key")
    assert world.call(new).status_code == 200
    assert failures(world.service.records()) == []


def test_issuer_that_is_away_is_one_record(world: World) -> None:
    """Tokens are a 503 each, the outage one ERROR; it ends without a restart."""
    token = world.issuer.token("ann")
    for _ in range(5):
        response = world.call(token)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "127.0.0.1" not in response.text
        world.service.records_of(response)
    outage = [("ERROR", "KeysUnavailableError")]
    assert levels_and_errors(world.service.records()) == outage
    world.show_keys()
    deadline = time.monotonic() + TIMEOUT
    while world.call(token).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert levels_and_errors(world.service.records()) == outage
    world.hide_keys()
    assert world.call(token).status_code == 200
    assert levels_and_errors(world.service.records()) == outage
    assert token.split(".")[2] not in "".join(world.service.lines)


def test_docs_know_the_scheme() -> None:
    """The scheme by which the button "Authorize" of `/docs` asks for a token."""
    app = create_app()
    include_protected(app, APIRouter(routes=[APIRoute("/whoami", lambda: None)]))
    schemes = app.openapi()["components"]["securitySchemes"]
    assert_fields(schemes["Bearer"], type="http", scheme="bearer", bearerFormat="JWT")
