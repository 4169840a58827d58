"""What clients and browsers see: OpenAPI, CORS, and the order of the layers behind them."""

from typing import Any

import httpx2
import pytest
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from src.airtight.bodies import MEDIA_TYPE
from src.main import create_app


async def request(
    method: str, path: str, headers: dict[str, str] | None = None, app: ASGIApp | None = None
) -> httpx2.Response:
    """Send a request to a service in this process."""
    transport = httpx2.ASGITransport(app or create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


async def test_openapi_documents_the_bodies_of_errors() -> None:
    """Every operation describes what its errors look like."""
    schema = (await request("GET", "/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert operations
    for operation in operations:
        has_input = "parameters" in operation or "requestBody" in operation
        assert list(operation["responses"]["default"]["content"]) == [MEDIA_TYPE]
        assert ("422" in operation["responses"]) is has_input
        if has_input:
            assert list(operation["responses"]["422"]["content"]) == [MEDIA_TYPE]


async def test_preflight_is_for_allowed_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preflight request succeeds for the configured origins and for no others."""
    monkeypatch.setenv("CORS_ORIGINS", '["http://a.example"]')
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-request-id",
    }
    from_allowed = {"Origin": "http://a.example"} | preflight
    from_other = {"Origin": "http://b.example"} | preflight
    allowed = await request("OPTIONS", "/health/live", from_allowed)
    refused = await request("OPTIONS", "/health/live", from_other)
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
    response = await request("GET", "/health/live", {"Origin": "http://a.example"}, app)
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert "x-request-id" in response.headers


def test_own_middleware_stands_between_the_layers_of_starlette() -> None:
    """A request passes Starlette's outer layer, own middleware, handlers and router."""
    app = create_app()
    app.add_middleware(OwnMiddleware)
    layer: Any = app.build_middleware_stack()
    layers = []
    while layer is not app.router:
        layers.append(type(layer))
        layer = layer.app
    expected = [ServerErrorMiddleware, OwnMiddleware, ExceptionMiddleware]
    assert sorted(expected, key=layers.index) == expected
    assert layers[0] is ServerErrorMiddleware
    for layer_type in expected:
        assert layers.count(layer_type) == 1
