"""`/debug/errors`: the last failures, shown to browsers on this machine while the service is being developed."""

import asyncio
import base64
import hashlib
import itertools
import logging
import re
import signal
import time
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import Scope

from src.airtight.hooks import failure_logged, request_started
from src.airtight.logging import redact, request_fields
from src.config import APP_METADATA

LOCAL_CLIENTS = ("127.0.0.1", "::1")
LOCAL_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.I)
FROM_AFAR = (
    "origin",
    "forwarded",
    "x-forwarded-for",
)  # another site's script, or somebody behind a proxy
HEAD = (
    "timestamp",
    "level",
    "message",
    "error",
    "method",
    "path",
    "status",
    "correlation_id",
    "exception",
)
PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")


def hash_of(element: str) -> str:
    """Return what allows the page's own inline script or style, and no other."""
    text = re.findall(rf"(?s)<{element}>(.*?)</{element}>", PAGE)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {hash_of('script')}; style-src {hash_of('style')}; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Failure(NamedTuple):
    """A failure as it is shown; `number` grows, also from one start of the service to the next."""

    number: int
    correlation_id: str
    html: str


failures: deque[Failure] = deque(maxlen=100)
numbers = itertools.count(time.time_ns())
served: ContextVar[Scope | None] = ContextVar("served", default=None)


def begin(scope: Scope, _: str) -> None:
    """Note which request is served, for the records of libraries, which do not say."""
    served.set(scope)


def remember(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Keep what the log tells of a failure; what is secret is masked already."""
    scope, exc = served.get(), record.exc_info and record.exc_info[1]
    fields = (redact(request_fields(scope)) if scope else {}) | fields
    fields = {"error": type(exc).__qualname__ if exc else record.name} | fields
    text = dict.fromkeys(HEAD, "") | {
        name: shown(fact) for name, fact in fields.items() if fact is not None
    }
    trace, correlation_id = (
        shown(fields.get("exception", ""), 17_000),
        fields["correlation_id"] or "",
    )
    link = (
        f'<a href="?{urlencode({"id": correlation_id})}">{text["correlation_id"]}</a>'
        if correlation_id
        else "none"
    )
    others = itertools.islice((name for name in text if name not in HEAD), 20)
    rows = "".join(f"<dt>{shown(name)}<dd>{text[name]}" for name in others)
    html = (
        f'<li><details><summary><time datetime="{text["timestamp"]}">{text["timestamp"][11:]}</time>'
        f'<b class="{text["level"]}">{text["level"]}</b><strong>{text["error"]}</strong>'
        f"<code>{text['method']} {text['path']} {text['status']}</code></summary>"
        f"<p>{text['message']}</p>{trace and f'<pre>{trace}</pre>'}"
        f"<dl><dt>correlation id<dd>{link}{rows}</dl></details></li>"
    )
    failures.append(Failure(next(numbers), correlation_id, html))


def shown(fact: object, limit: int = 1_000) -> str:
    """Return the first characters of a fact as a page can show them."""
    return escape(str(fact)[:limit]).encode(errors="backslashreplace").decode()


def found(wanted: str) -> list[Failure]:
    """Return the failures whose id has these characters, oldest first."""
    return [failure for failure in failures.copy() if wanted in failure.correlation_id]


async def page(request: Request) -> HTMLResponse:
    """Show what is there."""
    wanted = request.query_params.get("id", "").strip()
    some = found(wanted)
    entries = (failure.html for failure in reversed(some))
    if wanted:
        entries = (html.replace("<details>", "<details open>", 1) for html in entries)
    query = urlencode({"id": wanted, "after": some[-1].number if some else 0}, errors="replace")
    values = {"title": APP_METADATA["title"], "id": wanted, "live": f"errors/live?{query}"}
    text = Template(PAGE).substitute(
        {name: shown(fact) for name, fact in values.items()}, failures="".join(entries)
    )
    return HTMLResponse(text, headers=HEADERS)


async def live(request: Request) -> StreamingResponse:
    """Send what comes after what the page has."""
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    events = news(
        int(after) if re.fullmatch(r"\d{1,20}", after) else 0, request.query_params.get("id", "")
    )
    return StreamingResponse(events, headers=HEADERS, media_type="text/event-stream")


async def news(after: int, wanted: str) -> AsyncIterator[str]:
    """Yield failures as events, until the server stops: it waits for open answers, and tells them nothing."""
    server = getattr(
        signal.getsignal(signal.SIGTERM), "__self__", None
    )  # uvicorn's, if a method of it is the handler
    yield "retry: 1000\n\n"
    while not getattr(server, "should_exit", False):
        for failure in found(wanted):
            if failure.number > after:
                after = failure.number
                lines = "".join(f"data: {line}\n" for line in failure.html.splitlines())
                yield f"id: {after}\n{lines}\n"
        await asyncio.sleep(0.2)


class LocalRoute(Route):
    """A route that is there for browsers on this machine; for everybody else the path is unknown."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what comes from here, by a name that no other site can have."""
        match, child = super().matches(scope)
        if match is Match.NONE or not is_local(scope):
            return Match.NONE, {}
        return match, {**child, "route": self}


def is_local(scope: Scope) -> bool:
    """Tell whether a request was sent from this machine, by its user."""
    client, headers = scope.get("client"), Headers(scope=scope)
    local = client and client[0] in LOCAL_CLIENTS and LOCAL_NAMES.fullmatch(headers.get("host", ""))
    return bool(local) and not any(name in headers for name in FROM_AFAR)


def add_to(app: FastAPI) -> None:
    """Give an application the page, and have it hear of failures."""
    app.router.routes += [LocalRoute("/debug/errors", page), LocalRoute("/debug/errors/live", live)]
    if remember not in failure_logged:
        failure_logged.append(remember)
        request_started.append(begin)
