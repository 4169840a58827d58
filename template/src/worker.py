"""The worker: announces orders in a Redis stream, hears of them there, emits receipts; `python -m src.worker`."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import asyncio
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
# copier: if "prometheus" in observability
from time import time
# copier: endif
from typing import Any
from uuid import UUID

from src.clients.orders import OrderRepository
from src.config import SERVICE_NAME, Settings, load_settings
from src.connectors.postgres import PostgresConnector
from src.connectors.redis import RedisConnector
from src.airtight.lifespan import report_lifespan_errors
from src.airtight.messages import process_message
# copier: if "sentry" in observability
from src.airtight.sentry import delivery
# copier: endif
# copier: if "prometheus" in observability
from src.airtight.worker_metrics import expose
# copier: endif
# copier: if "opentelemetry" in observability
from src.airtight.worker_tracing import export_to
# copier: endif
from src.services.orders import OrderFacade, order_facade
from src.utils.errors import APIError, OrderError, OrderNotFoundError, StoreRefusedError
from src.airtight.logging.handler import configure_logging, report_exception

# copier: if false
# isort: on
# fmt: on
# copier: endif
logger = logging.getLogger(__name__)
Fields = dict[bytes, bytes]


class Worker:
    """One of those that share a stream; whatever Redis forgets, PostgreSQL has announced again."""

    def __init__(
        self,
        settings: Settings,
        orders: OrderRepository,
        facade: OrderFacade,
        redis: RedisConnector,
    ) -> None:
        self._settings, self._orders, self._facade, self._redis = settings, orders, facade, redis
        self._stream = f"{settings.redis_prefix}orders"
        self._dead, self._group = f"{self._stream}:dead", (self._stream, "workers")
        self.stopping = False

    async def run(self) -> None:
        """Take turns until `stopping`; that a store is away is told once."""
        trouble: object = "not begun"
        while not self.stopping:
            try:
                if trouble:  # Redis may have come back empty
                    with suppress(StoreRefusedError):  # there is a group
                        await self._redis.call("XGROUP", "CREATE", *self._group, "0", "MKSTREAM")
                await self._turn()
                if trouble:
                    logger.info("worker is ready")
                trouble = None
            except APIError as exc:
                if trouble is not type(exc):
                    report_exception(exc)
                trouble = type(exc)
                await asyncio.sleep(0.5)

    async def replay(self) -> int:
        """Put the dead letters back into the stream, and return how many there were."""
        count: int = await self._redis.call("XLEN", self._dead)
        for _ in range(count):
            for entry, fields in await self._redis.call("XRANGE", self._dead, "-", "+", "COUNT", 1):
                await self._add(self._stream, fields)
                await self._redis.call("XDEL", self._dead, entry)
        return count

    # copier: if "prometheus" in observability
    async def backlog(self) -> tuple[float, float]:
        """Return the age of the oldest message in the stream, in seconds, and the number of dead letters."""
        oldest = [
            entry
            for entry, _ in await self._redis.call("XRANGE", self._stream, "-", "+", "COUNT", 1)
        ]
        lag = time() - int(oldest[0].split(b"-")[0]) / 1000 if oldest else 0
        return max(lag, 0), await self._redis.call("XLEN", self._dead)

    # copier: endif
    async def _turn(self) -> None:
        async with self._orders.due() as rows:  # while the database is away no message is touched
            for row in rows:
                await self._add(self._stream, row)
        name, count = socket.gethostname(), ("COUNT", self._settings.worker_concurrency)
        idle, wait = (
            int(self._settings.emission_timeout * 2000),
            int(self._settings.redis_timeout * 500),
        )
        _, messages, *_ = await self._redis.call(
            "XAUTOCLAIM", *self._group, name, idle, "0-0", *count
        )
        if not messages:
            command = (
                "GROUP",
                "workers",
                name,
                *count,
                "BLOCK",
                wait,
                "STREAMS",
                self._stream,
                ">",
            )
            messages = [
                message
                for _, found in await self._redis.call("XREADGROUP", *command)
                for message in found
            ]
        work = (self._deal_with(entry, fields) for entry, fields in messages)
        for failure in filter(None, await asyncio.gather(*work, return_exceptions=True)):
            raise failure

    async def _deal_with(self, entry: bytes, fields: Fields) -> None:
        given = fields.get(b"attempt", b"")[:9]
        attempt = int(given) if given.isdigit() else 1
        facts = {"stream": self._stream, "message_id": entry.decode(), "attempt": attempt}
        left = self._settings.max_attempts - attempt
        handle = self._emit if left >= 0 else self._refuse
        if await process_message(handle, fields, left <= 0, **facts) == "dead":
            with suppress(OrderNotFoundError):
                await self._orders.give_up(order_in(fields))
            await self._add(self._dead, fields | {b"attempt": b"1"})
        await self._redis.call("XACK", *self._group, entry)
        await self._redis.call("XDEL", self._stream, entry)

    async def _emit(self, fields: Fields) -> str:
        return await self._facade.emit(order_in(fields))

    async def _refuse(self, fields: Fields) -> str:  # what may have killed a worker each time
        raise OrderError(order_in(fields))

    async def _add(self, stream: str, fields: dict[Any, Any]) -> None:
        await self._redis.call(
            "XADD", stream, "*", *(part for pair in fields.items() for part in pair)
        )


def order_in(fields: Fields) -> UUID:
    """Return the order that a message names; raises OrderNotFoundError."""
    try:
        return UUID(fields[b"order_id"].decode())
    except (KeyError, ValueError) as exc:
        raise OrderNotFoundError(fields.get(b"order_id")) from exc


async def main(*arguments: str) -> None:
    """Run a worker until SIGTERM or SIGINT, or `replay` the dead letters."""
    if arguments not in ((), ("replay",)):
        sys.exit("usage: python -m src.worker [replay]")
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, SERVICE_NAME, settings.log_file)
    # copier: if "opentelemetry" in observability
    export_to(settings.otel_exporter_otlp_endpoint, SERVICE_NAME)
    # copier: endif
    async with AsyncExitStack() as stack:
        # copier: if "sentry" in observability
        await stack.enter_async_context(delivery(settings.sentry_dsn, settings.environment))
        # copier: endif
        await stack.enter_async_context(report_lifespan_errors())
        dsn, url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
        postgres = PostgresConnector(dsn, settings.database_pool_size, settings.database_timeout)
        stack.push_async_callback(postgres.aclose)
        redis = RedisConnector(url, settings.redis_pool_size, settings.redis_timeout)
        stack.push_async_callback(redis.aclose)
        orders = OrderRepository(postgres, settings.emission_timeout)
        worker = Worker(
            settings, orders, await stack.enter_async_context(order_facade(settings, orders)), redis
        )
        if arguments:
            return logger.info("dead letters replayed", extra={"count": await worker.replay()})
        # copier: if "prometheus" in observability
        if port := settings.worker_metrics_port:
            stack.callback(
                expose(settings.host, port, {"postgres": postgres, "redis": redis}, worker.backlog)
            )
        # copier: endif
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(worker, "stopping", True))
        await worker.run()
        return logger.info("worker stopped")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except Exception:  # noqa: BLE001 - the guard has told it
        sys.exit(1)
