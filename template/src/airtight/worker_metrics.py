"""The numbers of a worker for Prometheus, on a page of its own."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from contextlib import suppress
from math import nan
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Gauge,
    Histogram,
    Metric,
    start_http_server,
)

from src.airtight import metrics
from src.airtight.hooks import message_ended
from src.airtight.logging import report_exception
from src.utils.errors import APIError, UnavailableError

MESSAGES = Histogram("message_duration_seconds", "Messages by their outcome.", ["outcome"])
LAG = Gauge("worker_lag_seconds", "Age of the oldest message in the stream.")
DEAD = Gauge("dead_letters", "Messages that were given up.")
for _outcome in ("emitted", "emitting", "retried", "dead", "interrupted"):
    MESSAGES.labels(_outcome)


class Page(CollectorRegistry):
    """All numbers, as of the moment in which they are read."""

    def __init__(self, stores: Mapping[str, Any], backlog: Any) -> None:
        super().__init__()
        metrics.begin(stores)
        self._stores, self._backlog, self._loop = stores, backlog, asyncio.get_running_loop()

    def collect(self) -> Iterable[Metric]:
        """Have the worker's loop look at what goes on; one that hangs gives no answer."""
        look = asyncio.run_coroutine_threadsafe(self._look(), self._loop)
        wait([look])
        if not look.cancelled() and (bug := look.exception()):
            report_exception(bug)
        return REGISTRY.collect()

    async def _look(self) -> None:
        alive, backlog = dict.fromkeys(self._stores, False), (nan, nan)
        for name, store in self._stores.items():
            with suppress(UnavailableError):  # of which the worker has told
                await store.is_alive()
                alive[name] = True
        metrics.sample(self._stores, alive)
        with suppress(APIError):
            backlog = await self._backlog()
        LAG.set(backlog[0])
        DEAD.set(backlog[1])


def expose(host: str, port: int, stores: Mapping[str, Any], backlog: Any) -> Callable[[], None]:
    """Answer Prometheus on a port, and return what ends that; `backlog` gives lag, in seconds, and dead letters."""
    return start_http_server(port, host, Page(stores, backlog))[0].shutdown


message_ended.append(lambda outcome, seconds: MESSAGES.labels(outcome).observe(seconds))
