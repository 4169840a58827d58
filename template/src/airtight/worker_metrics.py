"""Metrics of a worker for Prometheus, on a port of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from math import nan
from typing import Protocol

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Gauge,
    Histogram,
    Metric,
    start_http_server,
)

from ..utils.errors import APIError, UnavailableError
from . import metrics
from .hooks import message_finished, register
from .logging import report_exception

OUTCOMES = ("emitted", "emitting", "retried", "dead", "interrupted")
MESSAGES = Histogram("message_duration_seconds", "Messages by their outcome.", ["outcome"])
LAG = Gauge("worker_lag_seconds", "Age of the oldest message in the stream.")
DEAD_LETTERS = Gauge("dead_letters", "Messages that were given up.")


class Store(metrics.Store, Protocol):
    """A store that can be pinged."""

    async def is_alive(self) -> None:
        """Ping the store; raises UnavailableError."""


@dataclass(frozen=True)
class Backlog:
    """What is still to be done; NaN is what a store cannot say.

    Attributes:
        lag: the age of the oldest message, in seconds.
        dead_letters: the number of messages that were given up.
    """

    lag: float = nan
    dead_letters: float = nan


GetBacklog = Callable[[], Awaitable[Backlog]]


def init_worker_metrics() -> None:
    """Count messages and failures from now on."""
    metrics.init_metrics()
    for outcome in OUTCOMES:
        MESSAGES.labels(outcome)
    register(message_finished, _observe_message)


def _observe_message(outcome: str, seconds: float) -> None:
    MESSAGES.labels(outcome).observe(seconds)


class WorkerRegistry(CollectorRegistry):
    """All metrics, as of the moment in which they are read.

    Args:
        stores: by name.
        get_backlog: returns what is still to be done.
    """

    def __init__(self, stores: Mapping[str, Store], get_backlog: GetBacklog) -> None:
        super().__init__()
        self._stores = stores
        self._get_backlog = get_backlog
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterable[Metric]:
        """Update the gauges within the worker's loop; a worker that hangs does not respond."""
        update = asyncio.run_coroutine_threadsafe(self._update(), self._loop)
        wait([update])
        if not update.cancelled():
            bug = update.exception()
            if bug is not None:
                report_exception(bug)
        return REGISTRY.collect()

    async def _update(self) -> None:
        available = {name: await _is_available(store) for name, store in self._stores.items()}
        metrics.update_stores(available)
        metrics.update_pools(self._stores)
        try:
            backlog = await self._get_backlog()
        except APIError:  # the worker itself logs the outage
            backlog = Backlog()
        LAG.set(backlog.lag)
        DEAD_LETTERS.set(backlog.dead_letters)


async def _is_available(store: Store) -> bool:
    try:
        await store.is_alive()
    except UnavailableError:  # the worker itself logs the outage
        return False
    return True


def serve_metrics(
    host: str, port: int, stores: Mapping[str, Store], get_backlog: GetBacklog
) -> Callable[[], None]:
    """Serve the metrics on a port, and return what ends that.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        stores: by name.
        get_backlog: returns what is still to be done.
    """
    server, _ = start_http_server(port, host, WorkerRegistry(stores, get_backlog))
    return server.shutdown
