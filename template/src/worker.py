"""The worker: announces orders in a Redis stream, reads them there, emits their receipts.

`python -m src.worker` runs one until SIGTERM; `python -m src.worker replay` has all orders that
were given up announced again.
"""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
# copier: if "prometheus" in observability
from math import nan
# copier: endif
from uuid import UUID

from src.airtight import configure_logging, report_exception, report_lifespan_errors
from src.airtight.messages import process_message
# copier: if "sentry" in observability
from src.airtight.sentry import init_sentry
# copier: endif
# copier: if "prometheus" in observability
from src.airtight.worker_metrics import Backlog, Store, init_worker_metrics, serve_metrics
# copier: endif
# copier: if "opentelemetry" in observability
from src.airtight.worker_tracing import init_worker_tracing
# copier: endif
from src.clients.http import UpstreamClient
from src.clients.order_stream import OrderStream, StreamMessage
from src.clients.orders import OrderRepository, RetryLimits
from src.clients.tax_office import connect_tax_office
from src.config import SERVICE_NAME, Settings, load_settings
from src.connectors.migrations import MigrationCheck
from src.connectors.postgres import PostgresConnector, connect_postgres
from src.connectors.redis import RedisConnector, connect_redis
from src.services.orders import OrderFacade, build_order_facade, build_order_repository
from src.utils.errors import APIError, OrderError, OrderNotFoundError, UnavailableError

logger = logging.getLogger(__name__)
PAUSE = 0.5  # seconds, after a failure
MAX_ANNOUNCED = 100  # orders in one transaction
MAX_KEPT = 1_000  # characters of a message that is given up


class Worker:
    """One of those that share a stream.

    Only PostgreSQL says what is to be done: whatever Redis or a worker loses is announced again.

    Args:
        orders: the orders.
        stream: where they are announced.
        facade: what emits their receipts.
        tables: says whether the tables are as new as the worker.
        concurrency: how many orders to emit at a time.
        limits: beyond which an order is given up.
    """

    def __init__(
        self,
        orders: OrderRepository,
        stream: OrderStream,
        facade: OrderFacade,
        tables: MigrationCheck,
        *,
        concurrency: int,
        limits: RetryLimits,
    ) -> None:
        self._orders = orders
        self._stream = stream
        self._facade = facade
        self._tables = tables
        self._concurrency = concurrency
        self._limits = limits
        self._ready = False
        self._outage: type[APIError] | None = None
        self.stopping = False

    async def run(self) -> None:
        """Take turns until `stopping`; an outage of a store is logged when it starts."""
        while not self.stopping:
            try:
                await self._take_turn()
            except APIError as exc:
                if self._outage is not type(exc):
                    report_exception(exc)
                self._outage = type(exc)
                self._ready = False
                await asyncio.sleep(PAUSE)

    # copier: if "prometheus" in observability
    async def backlog(self) -> Backlog:
        """Return what is still to be done; what a store cannot say is NaN."""
        try:
            lag = await self._stream.lag()
        except APIError:
            lag = nan
        try:
            dead_letters: float = await self._orders.count_dead_letters()
        except APIError:
            dead_letters = nan
        return Backlog(lag, dead_letters)

    # copier: endif
    async def _take_turn(self) -> None:
        await self._tables.check()
        if not self._ready:
            await self._stream.create()  # Redis may have come back empty
        await self._announce()
        await self._stream.drop_leftovers(self._concurrency)
        messages = await self._stream.read(self._concurrency)
        work = [self._handle(message) for message in messages]
        results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if not self._ready:
            logger.info("worker is ready")
        self._ready = True
        self._outage = None

    async def _announce(self) -> None:
        count = min(await self._stream.room(), MAX_ANNOUNCED)
        async with self._orders.due(count, self._limits) as announcements:
            for fields in announcements:
                await self._stream.add(fields)

    async def _handle(self, message: StreamMessage) -> None:
        emission = Emission(message, self._orders, self._facade, self._limits)
        result = await process_message(
            message.fields,
            emission.emit,
            emission.may_retry,
            stream=self._stream.name,
            message_id=message.id,
            attempt=emission.attempt,
        )
        if result.outcome == "dead":
            kept = ascii(message.fields)[:MAX_KEPT]
            await self._orders.add_dead_letter(emission.order_id, kept, str(result.error))
        await self._stream.drop(message.id)


class Emission:
    """What a message asks for.

    Attributes:
        order_id: of the order; None if the message names none.
        attempt: the number of this attempt, from 1.
    """

    def __init__(
        self,
        message: StreamMessage,
        orders: OrderRepository,
        facade: OrderFacade,
        limits: RetryLimits,
    ) -> None:
        self.order_id = _parse_order_id(message)
        self.attempt = _parse_attempt(message)
        self._exhausted = message.fields.get(b"exhausted") == b"true"
        self._received_id = message.fields.get(b"order_id")
        self._orders = orders
        self._facade = facade
        self._limits = limits

    async def emit(self) -> str:
        """Emit the receipt of the order, and return the order's status; raises OrderError."""
        if self.order_id is None:
            raise OrderNotFoundError(self._received_id)
        if self._exhausted:  # its last attempt may have killed the worker
            raise OrderError(self.order_id)
        return await self._facade.emit(self.order_id)

    async def may_retry(self) -> bool:
        """Return whether there will be another attempt."""
        if self.order_id is None:
            return False
        try:
            return not await self._orders.is_exhausted(self.order_id, self._limits)
        except UnavailableError:
            return True  # PostgreSQL remembers the order, and says so when it is back


def _parse_order_id(message: StreamMessage) -> UUID | None:
    try:
        return UUID(message.fields[b"order_id"].decode())
    except (KeyError, ValueError):
        return None


def _parse_attempt(message: StreamMessage) -> int:
    digits = message.fields.get(b"attempt", b"")
    if digits.isdigit() and len(digits) < 10:
        return int(digits)
    return 1


def build_worker(
    settings: Settings, postgres: PostgresConnector, redis: RedisConnector, http: UpstreamClient
) -> Worker:
    """Wire a worker."""
    orders = build_order_repository(settings, postgres)
    stream = OrderStream(
        redis,
        f"{settings.redis_prefix}orders",
        idle_timeout=2 * settings.emission_timeout,
        read_timeout=settings.redis_timeout / 2,
    )
    facade = build_order_facade(settings, orders, http)
    limits = RetryLimits(settings.max_attempts, timedelta(hours=settings.max_retry_hours))
    return Worker(
        orders,
        stream,
        facade,
        MigrationCheck(postgres),
        concurrency=settings.worker_concurrency,
        limits=limits,
    )


async def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(report_lifespan_errors())
        postgres = connect_postgres(settings)
        stack.push_async_callback(postgres.aclose)
        redis = connect_redis(settings)
        stack.push_async_callback(redis.aclose)
        http = await stack.enter_async_context(connect_tax_office(settings))
        worker = build_worker(settings, postgres, redis, http)

        def stop(*_: object) -> None:
            worker.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        # copier: if "prometheus" in observability
        if settings.worker_metrics_port:
            stores: dict[str, Store] = {"postgres": postgres, "redis": redis}
            port = settings.worker_metrics_port
            stack.callback(serve_metrics(settings.host, port, stores, worker.backlog))
        # copier: endif
        await worker.run()
        logger.info("worker stopped")


async def replay(settings: Settings) -> None:
    """Have the orders that were given up announced again."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(report_lifespan_errors())
        postgres = connect_postgres(settings)
        stack.push_async_callback(postgres.aclose)
        orders = build_order_repository(settings, postgres)
        count = await orders.replay_dead_letters()
        logger.info("dead letters replayed", extra={"count": count})


def main(*arguments: str) -> None:
    """Run a worker, or `replay`."""
    if arguments not in ((), ("replay",)):
        sys.exit("usage: python -m src.worker [replay]")
    settings = load_settings()
    configure_logging(
        settings.log_level,
        settings.log_format,
        SERVICE_NAME,
        settings.log_file,
        levels=settings.log_levels,
        redact_fields=settings.redact_fields,
    )
    # copier: if "prometheus" in observability
    init_worker_metrics()
    # copier: endif
    # copier: if "sentry" in observability
    init_sentry(settings.sentry_dsn, settings.environment)
    # copier: endif
    # copier: if "opentelemetry" in observability
    init_worker_tracing(settings.otel_exporter_otlp_endpoint, SERVICE_NAME)
    # copier: endif
    try:
        asyncio.run(replay(settings) if arguments else run(settings))
    except Exception:  # noqa: BLE001 - it is logged already
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
