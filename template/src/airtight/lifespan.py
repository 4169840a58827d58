"""Start-up, tasks and threads: what fails outside of requests is logged, too."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from .boundary import open_requests
from .context import RequestContext, current_context, origin, with_origin
from .hooks import service_stopped
from .logging import report_exception, restore_exception_hooks, restore_logging

CANCEL_TIMEOUT = 1.0  # seconds
POLL_INTERVAL = 0.01  # seconds
LoopExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class ReportedFuture(Future[Any]):
    """A future whose exception is logged if nobody has asked for it."""

    _retrieved = False
    _context: Context | None = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception of the call."""
        self._retrieved = True
        return super().exception(timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Return the result of the call, or raise its exception."""
        self._retrieved = True
        return super().result(timeout)

    def __del__(self) -> None:
        """Log an exception that nobody has asked for."""
        if self._retrieved or self._context is None or self.cancelled() or not self.done():
            return
        exc = super().exception()
        if exc is not None:
            self._context.run(report_exception, exc)


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A pool whose threads know for which request they work, and whose failures are logged."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a copy of the caller's context."""
        context = copy_context()
        future = super().submit(context.run, with_origin(fn), *args, **kwargs)
        future.__class__ = ReportedFuture
        future._context = context  # type: ignore[attr-defined]
        return future


@dataclass(frozen=True)
class TaskErrorHandler:
    """The event loop's exception handler: logs the failures of tasks that nobody awaits.

    Args:
        previous: the handler that was set before; it is called as well.
    """

    previous: LoopExceptionHandler | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a failure, with the id of the request that made the task."""
        exc = context.get("exception")
        if exc is not None:
            task = context.get("future") or context.get("task")
            get_context = getattr(task, "get_context", copy_context)  # Python 3.11 has none
            get_context().run(_report_with_origin, exc)
        if self.previous is not None:
            self.previous(loop, context)
        elif exc is None:
            loop.default_exception_handler(context)


def _report_with_origin(exc: BaseException) -> None:
    token = current_context.set(origin(exc))
    try:
        report_exception(exc)
    finally:
        current_context.reset(token)


async def _wait_for_open_requests() -> None:
    """Wait until requests that the server has cancelled have written their records.

    uvicorn cancels them after the graceful timeout, and ends the process after this application.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCEL_TIMEOUT
    while open_requests.count and loop.time() < deadline:  # noqa: ASYNC110 - for milliseconds
        await asyncio.sleep(POLL_INTERVAL)


async def _call_stop_hooks() -> None:
    """Call what others want to do at the end; one that fails keeps none of the others from it."""
    for hook in service_stopped:
        try:
            await hook()
        except Exception as exc:  # noqa: BLE001 - it is of others
            report_exception(exc)


@asynccontextmanager
async def report_lifespan_errors() -> AsyncIterator[None]:
    """Log what prevents the application from starting or stopping, and what its tasks leave."""
    restore_logging()
    loop = asyncio.get_running_loop()
    previous = loop.get_exception_handler()
    executor = ContextThreadPoolExecutor()
    loop.set_default_executor(executor)
    loop.set_exception_handler(TaskErrorHandler(previous))
    token = current_context.set(RequestContext(None))
    try:
        yield
    except BaseException as exc:
        report_exception(exc, logging.CRITICAL, "the service cannot run")
        raise
    finally:
        await _wait_for_open_requests()
        await _call_stop_hooks()
        loop.set_exception_handler(previous)
        restore_exception_hooks()
        current_context.reset(token)
