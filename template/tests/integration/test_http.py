"""What clients and browsers see: OpenAPI, CORS, and the order of the layers behind them."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from src.airtight.bodies import MEDIA_TYPE
from src.api.dependencies import get_readiness
from src.main import create_app


async def request(app: ASGIApp, method: str, path: str, **headers: str) -> httpx2.Response:
    """Send a request to a service in this process."""
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://test",
    )
    async with client:
        return await client.request(method, path, headers=headers)


async def test_openapi_documents_the_bodies_of_errors() -> None:
    """Every operation describes what its errors look like."""
    response = await request(create_app(), "GET", "/openapi.json")
    operations = [
        operation for path in response.json()["paths"].values() for operation in path.values()
    ]
    assert operations
    for operation in operations:
        responses = operation["responses"]
        has_input = "parameters" in operation or "requestBody" in operation
        assert list(responses["default"]["content"]) == [MEDIA_TYPE]
        assert ("422" in responses) is has_input
        if has_input:
            assert list(responses["422"]["content"]) == [MEDIA_TYPE]


async def test_preflight_is_for_allowed_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preflight request succeeds for the configured origins and for no others."""
    monkeypatch.setenv("CORS_ORIGINS", '["http://a.example"]')
    app = create_app()

    async def preflight(origin: str) -> httpx2.Response:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-request-id",
        }
        return await request(app, "OPTIONS", "/health/live", **headers)

    allowed = await preflight("http://a.example")
    refused = await preflight("http://b.example")
    assert allowed.status_code == 200
    assert refused.status_code == 400
    assert "x-request-id" in allowed.headers


class OwnMiddleware:
    """A layer that a team adds; it fails."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("middleware")


async def test_errors_of_own_middleware_pass_the_boundary_and_cors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The boundary is outermost, then CORS: an id and readable errors, whatever fails inside."""
    monkeypatch.setenv("CORS_ORIGINS", '["http://a.example"]')
    app = create_app()
    app.add_middleware(OwnMiddleware)
    response = await request(app, "GET", "/health/live", Origin="http://a.example")
    assert response.status_code == 500
    headers = response.headers
    assert headers["access-control-allow-origin"] == "http://a.example"
    assert "x-request-id" in headers


def test_own_middleware_stands_between_the_layers_of_starlette() -> None:
    """A request passes Starlette's outer layer, own middleware, handlers and router."""
    app = create_app()
    app.add_middleware(OwnMiddleware)
    layers = layers_of(app)
    expected = [
        ServerErrorMiddleware,
        OwnMiddleware,
        ExceptionMiddleware,
    ]
    assert layers[0] is ServerErrorMiddleware
    assert [layer for layer in layers if layer in expected] == expected


def layers_of(app: FastAPI) -> list[type]:
    """Return the types of all layers around the router, the outermost first."""
    layers = []
    layer: Any = app.build_middleware_stack()
    while layer is not app.router:
        layers.append(type(layer))
        layer = layer.app
    return layers


class FakeReadiness:
    """Says that a store is unavailable, without one."""

    async def check(self) -> dict[str, bool]:
        """Return the state of the only store."""
        return {"shelf": False}


async def test_dependencies_can_be_overridden() -> None:
    """`app.dependency_overrides` replaces what routes get, as FastAPI's documentation has it."""
    app = create_app()
    app.dependency_overrides[get_readiness] = FakeReadiness
    response = await request(app, "GET", "/health/ready")
    assert response.status_code == 503
    assert response.json()["stores"] == {"shelf": False}
