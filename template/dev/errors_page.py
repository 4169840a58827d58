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
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import Scope

from src.airtight import hooks, redact, request_fields
from src.config import APP_METADATA

LOCAL_CLIENTS = ("127.0.0.1", "::1")
LOCAL_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.I)
# Of a request by another site's script, or from behind a proxy: `X-Forwarded-For`, `CF-Ray`.
FOREIGN_HEADERS = re.compile(
    r"origin|via|forwarded|true-client-ip|(x-(forwarded|real|client|original|cluster)|cf|cdn|fastly"
    r"|fly|akamai)-.+",
    re.I,
)
POLL_SECONDS = 0.2
MAX_TRACEBACK = 17_000  # characters
MAX_ROWS = 20  # of other fields
# These have a place of their own; others are in a list.
SUMMARY = (
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
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {hash_of('script')}; style-src {hash_of('style')}; "
        "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Failure:
    """A failure as the page shows it.

    Attributes:
        number: grows with each failure, also from one start of the service to the next.
        correlation_id: of its request.
        html: its entry on the page.
    """

    number: int
    correlation_id: str
    html: str


failures: deque[Failure] = deque(maxlen=100)
numbers = itertools.count(time.time_ns())
current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)


def note_request(scope: Scope, _correlation_id: str) -> None:
    """Note which request is served, for the records of libraries, which do not name it."""
    current_scope.set(scope)


def add_failure(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Add a failure to the page; its fields are redacted already."""
    values: dict[str, Any] = {"error": _error_of(record)}
    scope = current_scope.get()
    if scope:
        values |= redact(request_fields(scope))
    values |= fields
    html = _build_entry(values)
    failures.append(Failure(next(numbers), fields["correlation_id"] or "", html))


def _error_of(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1]:
        return type(record.exc_info[1]).__qualname__
    return record.name


def _build_entry(values: dict[str, Any]) -> str:
    text = dict.fromkeys(SUMMARY, "")
    text |= {name: to_html(value) for name, value in values.items() if value is not None}
    return (
        f'<li><details><summary><time datetime="{text["timestamp"]}">'
        f"{text['timestamp'][11:]}</time>"
        f'<b class="{text["level"]}">{text["level"]}</b><strong>{text["error"]}</strong>'
        f"<code>{text['method']} {text['path']} {text['status']}</code></summary>"
        f"<p>{text['message']}</p>{_build_traceback(values)}"
        f"<dl><dt>correlation id<dd>{_build_link(values)}{_build_rows(text)}</dl></details></li>"
    )


def _build_traceback(values: dict[str, Any]) -> str:
    text = to_html(values.get("exception") or "", MAX_TRACEBACK)
    return f"<pre>{text}</pre>" if text else ""


def _build_link(values: dict[str, Any]) -> str:
    correlation_id = values["correlation_id"]
    if not correlation_id:
        return "none"
    return f'<a href="?{urlencode({"id": correlation_id})}">{to_html(correlation_id)}</a>'


def _build_rows(text: dict[str, str]) -> str:
    others = (name for name in text if name not in SUMMARY)
    names = itertools.islice(others, MAX_ROWS)
    return "".join(f"<dt>{to_html(name)}<dd>{text[name]}" for name in names)


def to_html(value: object, limit: int = 1_000) -> str:
    """Return the first characters of a value as a page can show them.

    Args:
        value: what to show.
        limit: the most characters.
    """
    return escape(str(value)[:limit]).encode(errors="backslashreplace").decode()


def find_failures(correlation_id: str) -> list[Failure]:
    """Return the failures whose id has these characters, oldest first."""
    return [failure for failure in failures.copy() if correlation_id in failure.correlation_id]


async def page(request: Request) -> HTMLResponse:
    """Return the page."""
    correlation_id = request.query_params.get("id", "").strip()
    found = find_failures(correlation_id)
    entries = [failure.html for failure in reversed(found)]
    if correlation_id:
        entries = [html.replace("<details>", "<details open>", 1) for html in entries]
    last = found[-1].number if found else 0
    query = urlencode({"id": correlation_id, "after": last}, errors="replace")
    text = Template(PAGE).substitute(
        title=to_html(APP_METADATA["title"]),
        id=to_html(correlation_id),
        live=to_html(f"errors/live?{query}"),
        failures="".join(entries),
    )
    return HTMLResponse(text, headers=HEADERS)


async def live(request: Request) -> StreamingResponse:
    """Stream what comes after what the page has."""
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    if not re.fullmatch(r"\d{1,20}", after):
        after = "0"
    events = stream_events(int(after), request.query_params.get("id", ""))
    return StreamingResponse(events, headers=HEADERS, media_type="text/event-stream")


async def stream_events(after: int, correlation_id: str) -> AsyncIterator[str]:
    """Yield failures as events, until the server stops; it waits for open responses.

    Args:
        after: the number of the last failure that the browser has.
        correlation_id: characters of the id of the failures.
    """
    # A method of uvicorn's server handles the signal.
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    yield "retry: 1000\n\n"
    while not getattr(server, "should_exit", False):
        for failure in find_failures(correlation_id):
            if failure.number > after:
                after = failure.number
                yield _build_event(failure)
        await asyncio.sleep(POLL_SECONDS)


def _build_event(failure: Failure) -> str:
    lines = "".join(f"data: {line}\n" for line in failure.html.splitlines())
    return f"id: {failure.number}\n{lines}\n"


class LocalRoute(Route):
    """A route that is there for browsers on this machine; for others the path is unknown."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what comes from here, by a name that no other site can have."""
        match, child = super().matches(scope)
        if match is Match.NONE or not is_local(scope):
            return Match.NONE, {}
        return match, {**child, "route": self}


def is_local(scope: Scope) -> bool:
    """Return whether a request was sent from this machine, by its user."""
    client = scope.get("client")
    if not client or client[0] not in LOCAL_CLIENTS:
        return False
    headers = Headers(scope=scope)
    if not LOCAL_NAMES.fullmatch(headers.get("host", "")):
        return False
    return not any(FOREIGN_HEADERS.fullmatch(name) for name in headers)


def add_to(app: FastAPI) -> None:
    """Add the page to an application, and failures to the page."""
    app.router.routes += [LocalRoute("/debug/errors", page), LocalRoute("/debug/errors/live", live)]
    hooks.register(hooks.failure_logged, add_failure)
    hooks.register(hooks.request_started, note_request)
