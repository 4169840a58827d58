"""The numbers for Prometheus: requests, failures, and what the stores are up to."""

import asyncio
import atexit
import logging
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from src.airtight.hooks import failure_logged, request_began, request_ended
from src.utils.errors import APIError

SHARED = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # where several workers count together
if SHARED:
    Path(SHARED).mkdir(parents=True, exist_ok=True)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"}
LABELS = ["method", "route", "status"]
REQUESTS = Histogram(
    "http_request_duration_seconds", "Requests by the template of their path.", LABELS
)
IN_FLIGHT = Gauge(
    "http_requests_in_flight", "Requests that are being served.", multiprocess_mode="livesum"
)
ERRORS = Counter(
    "errors", "Failures that were logged, by own class or as unexpected.", ["error", "level"]
)
POOL = Gauge(
    "store_pool",
    "Connections, and callers waiting.",
    ["store", "state"],
    multiprocess_mode="livesum",
)
UP = Gauge("store_up", "Whether a store answers.", ["store"], multiprocess_mode="mostrecent")
_known = {"HTTPException", "RequestValidationError", "WebSocketRequestValidationError"}


@lru_cache(1_000)
def _observer(method: str, route: str | None, status: int) -> Callable[[float], None]:
    return REQUESTS.labels(
        method if method in METHODS else "OTHER", route or "unmatched", status
    ).observe


def end_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Note that a request has ended; label values stay few, whatever clients send."""
    IN_FLIGHT.dec()
    _observer(method, route, status)(seconds)


def count_failure(record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
    """Note that a failure was logged."""
    name = fields.get("error") or type(record.exc_info and record.exc_info[1]).__qualname__
    ERRORS.labels(name if name in _known else "unexpected", record.levelname).inc()


def begin(stores: Mapping[str, Any]) -> None:
    """Let the failures that can come start at 0: of a number that appears as 1, Prometheus sees no increase."""
    ERRORS.labels("unexpected", "CRITICAL")
    kinds = [APIError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        _known.add(kind.__qualname__)
        if kind.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            ERRORS.labels(kind.__qualname__, "ERROR")
    if SHARED:
        _share(stores)


def sample(stores: Mapping[str, Any], alive: Mapping[str, bool] = MappingProxyType({})) -> None:
    """Note what the pools of stores hold now, and which stores answer."""
    for name, answers in alive.items():
        UP.labels(name).set(answers)
    for name, store in stores.items():
        for state, count in store.pool().items():
            POOL.labels(name, state).set(count)


def _share(stores: Mapping[str, Any]) -> None:  # for whichever worker is asked
    asyncio.get_running_loop().call_later(5, _share, stores)
    sample(stores)
    for file in Path(SHARED or "").glob("gauge_live*.db") if os.name == "posix" else ():
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except (
            ProcessLookupError
        ):  # it was killed; a process of its own accord leaves its numbers as 0
            file.unlink(missing_ok=True)


def render_metrics(stores: Mapping[str, Any], alive: Mapping[str, bool]) -> bytes:
    """Return all numbers in the form that Prometheus reads; `alive` says which stores answer."""
    registry = REGISTRY
    sample(stores, alive)
    if SHARED:
        multiprocess.MultiProcessCollector(registry := CollectorRegistry())  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def enable_multiprocess(workers: int) -> None:
    """Have several workers, which this process starts, count together in a folder of their own."""
    if workers > 1 and not SHARED:
        folder = TemporaryDirectory(prefix="metrics-")
        atexit.register(folder.cleanup)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name


request_began.append(lambda *_: IN_FLIGHT.inc())
request_ended.append(end_request)
failure_logged.append(count_failure)
