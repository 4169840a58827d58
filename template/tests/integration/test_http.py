"""What the service says of itself, and to browsers."""

import httpx2
import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import GZipMiddleware

from src.airtight import handlers as error_handlers
from src.airtight.boundary import ErrorBoundary
from src.main import create_app


async def ask(method: str, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    """Send a request to a service in this process."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(create_app()), base_url="http://test"
    ) as client:
        return await client.request(method, path, headers=headers)


async def test_openapi_documents_the_bodies_of_errors() -> None:
    """Every operation describes what its errors look like."""
    schema = (await ask("GET", "/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert operations
    for operation in operations:
        assert list(operation["responses"]["default"]["content"]) == list(
            error_handlers.RESPONSES["default"]["content"]
        )
        assert list(operation["responses"]["422"]["content"]) == list(
            error_handlers.RESPONSES["default"]["content"]
        )


async def test_preflight_is_answered_for_allowed_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser may ask before it sends, from the origins that are set and no others."""
    monkeypatch.setenv("CORS_ORIGINS", '["http://a.example"]')
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-request-id",
    }
    good = await ask("OPTIONS", "/health/live", {"Origin": "http://a.example", **asked})
    bad = await ask("OPTIONS", "/health/live", {"Origin": "http://b.example", **asked})
    assert (good.status_code, bad.status_code) == (200, 400)
    assert "x-request-id" in good.headers


def test_boundary_stands_outside_all_other_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request passes the guard, CORS, Starlette's errors, the service's middleware, handlers, router."""
    monkeypatch.setenv("CORS_ORIGINS", '["http://a.example"]')
    app = create_app()
    app.add_middleware(GZipMiddleware)
    layer, layers = app.build_middleware_stack(), []
    while layer is not app.router:
        layers.append(type(layer))
        layer = layer.app  # type: ignore[attr-defined]
    known = [
        ErrorBoundary,
        CORSMiddleware,
        ServerErrorMiddleware,
        GZipMiddleware,
        ExceptionMiddleware,
    ]
    assert [one for one in layers if one in known] == known
