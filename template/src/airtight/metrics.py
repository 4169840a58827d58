"""Metrics for Prometheus: requests, failures and the pools of stores."""

import asyncio
import atexit
import logging
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from ..utils.errors import APIError
from .hooks import failure_logged, register, request_finished, request_started
from .logging import dropped_records

# Several workers write their metrics into this folder, and each renders the sum of all.
MULTIPROC_DIR = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
if MULTIPROC_DIR:
    Path(MULTIPROC_DIR).mkdir(parents=True, exist_ok=True)
POOL_INTERVAL = 5  # seconds, between two looks at the pools of a worker

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"}
FRAMEWORK_ERRORS = ("HTTPException", "RequestValidationError", "WebSocketRequestValidationError")
REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Requests by the template of their path.",
    ["method", "route", "status"],
)
IN_FLIGHT = Gauge(
    "http_requests_in_flight",
    "Requests that are being served.",
    multiprocess_mode="livesum",
)
ERRORS = Counter(
    "errors",
    "Failures that were logged, by own class or as unexpected.",
    ["error", "level"],
)
DROPPED = Counter(
    "log_records_dropped",
    "Log records that could not be written: the disk is full, or nobody reads.",
)
POOL = Gauge(
    "store_pool",
    "Connections, and callers waiting.",
    ["store", "state"],
    multiprocess_mode="livesum",
)
UP = Gauge("store_up", "Whether a store answers.", ["store"], multiprocess_mode="mostrecent")
_error_labels = set(FRAMEWORK_ERRORS)


class Store(Protocol):
    """A store with a pool of connections."""

    def pool(self) -> Mapping[str, int]:
        """Return the number of connections by state."""


def init_metrics(workers: int = 1) -> None:
    """Count requests and failures from now on.

    A failure of our own that has not happened yet is exported as 0: Prometheus sees no increase in
    a counter that appears with 1.

    Args:
        workers: the number of processes that this one starts; they add up their metrics.
    """
    if workers > 1 and not MULTIPROC_DIR:
        _enable_multiprocess()
    ERRORS.labels("unexpected", "CRITICAL")
    for error_class in _with_subclasses(APIError):
        _error_labels.add(error_class.__qualname__)
        if error_class.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            ERRORS.labels(error_class.__qualname__, _level_name(error_class))
    if not MULTIPROC_DIR:
        IN_FLIGHT.set_function(lambda: _in_flight.requests)
    register(request_started, _count_started_request)
    register(request_finished, _observe_request)
    register(failure_logged, _count_failure)


def _level_name(error_class: type[APIError]) -> str:
    level = error_class.level  # a property, where the class has no level of its own
    return logging.getLevelName(level) if isinstance(level, int) else "ERROR"


def _enable_multiprocess() -> None:
    """Have the workers that this process starts share a folder for their metrics."""
    folder = TemporaryDirectory(prefix="metrics-")
    atexit.register(folder.cleanup)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name


def _with_subclasses(error_class: type[APIError]) -> set[type[APIError]]:
    found = {error_class}
    for subclass in error_class.__subclasses__():
        found |= _with_subclasses(subclass)
    return found


class _InFlight:
    """How many requests this process serves; a gauge would lock twice for each of them."""

    def __init__(self) -> None:
        self.requests = 0


_in_flight = _InFlight()


def _count_started_request(_scope: Any, _correlation_id: str) -> None:
    _in_flight.requests += 1
    if MULTIPROC_DIR:  # another process may render it
        IN_FLIGHT.set(_in_flight.requests)


def _observe_request(method: str, route: str | None, status: int, seconds: float) -> None:
    _in_flight.requests -= 1
    if MULTIPROC_DIR:
        IN_FLIGHT.set(_in_flight.requests)
    _observer(method, route, status)(seconds)


@lru_cache(1_000)
def _observer(method: str, route: str | None, status: int) -> Callable[[float], None]:
    """Return the histogram of a kind of request; its labels are few, whatever clients send."""
    label = method if method in METHODS else "OTHER"
    return REQUESTS.labels(label, route or "unmatched", status).observe


def _count_failure(record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
    error = fields.get("error")
    label = error if error in _error_labels else "unexpected"
    ERRORS.labels(label, record.levelname).inc()


def watch_pools(stores: Mapping[str, Store]) -> None:
    """Update the gauges of pools again and again, where any worker may render the metrics."""
    if not MULTIPROC_DIR:
        return
    update_pools(stores)
    for file in Path(MULTIPROC_DIR).glob("gauge_live*.db"):
        _remove_after_kill(file)
    asyncio.get_running_loop().call_later(POOL_INTERVAL, watch_pools, stores)


def _remove_after_kill(file: Path) -> None:
    """Remove the gauges of a process that was killed; one that stops sets them to 0 itself."""
    if os.name != "posix":
        return
    pid = int(file.stem.rpartition("_")[2])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        file.unlink(missing_ok=True)


class _Seen:
    """How many of the dropped records the counter has."""

    dropped = 0


def _update_dropped() -> None:
    """Add the records to the counter that were dropped since the last time."""
    dropped = dropped_records()
    DROPPED.inc(dropped - _Seen.dropped)
    _Seen.dropped = dropped


def update_pools(stores: Mapping[str, Store]) -> None:
    """Set the gauges of pools to what the pools hold now, and count dropped log records."""
    _update_dropped()
    for name, store in stores.items():
        for state, count in store.pool().items():
            POOL.labels(name, state).set(count)


def update_stores(available: Mapping[str, bool]) -> None:
    """Set the gauges of stores to whether they are available."""
    for name, is_available in available.items():
        UP.labels(name).set(is_available)


def render_metrics(stores: Mapping[str, Store], available: Mapping[str, bool]) -> bytes:
    """Return all metrics in the text format of Prometheus.

    Args:
        stores: by name.
        available: whether a store answers, by name.
    """
    update_pools(stores)
    update_stores(available)
    if not MULTIPROC_DIR:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
