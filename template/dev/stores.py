"""Real stores without Docker, for development and tests.

They listen on the loopback interface, ask for a password of their own, store their data in one
folder, and stop when the command that has started them ends.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from dev import (
    # copier: if "postgres" in stores
    postgres,
    # copier: endif
    # copier: if "redis" in stores
    redis,
    # copier: endif
)
from src.config import Settings, load_settings


@contextlib.contextmanager
def running(folder: Path, *, durable: bool = True) -> Iterator[dict[str, str]]:
    """Run the stores that the environment does not name, and yield their URLs by setting.

    Args:
        folder: where they store their data.
        durable: whether their data survives a crash of the machine.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_exit_on_sigterm())
        urls = {}
        # copier: if "postgres" in stores
        if not os.environ.get("DATABASE_URL"):
            server = postgres.running(folder / "postgres", durable=durable)
            urls["DATABASE_URL"] = stack.enter_context(server)
        # copier: endif
        # copier: if "redis" in stores
        if not os.environ.get("REDIS_URL"):
            cache = redis.running(folder / "redis", durable=durable)
            urls["REDIS_URL"] = stack.enter_context(cache)
        # copier: endif
        yield urls


@contextlib.contextmanager
def settings(folder: Path) -> Iterator[Settings]:
    """Yield the service's settings, with the stores that the environment does not name.

    Args:
        folder: where they store their data.
    """
    with running(folder) as urls:
        os.environ |= urls
        yield load_settings()


@contextlib.contextmanager
def for_tests(folder: Path) -> Iterator[dict[str, str]]:
    """Yield settings for a part of stores: of the environment's, or of those that only tests use.

    Args:
        folder: where the tests' stores store their data.
    """
    with running(folder, durable=False) as urls, contextlib.ExitStack() as stack:
        # copier: if "postgres" in stores
        url = urls.get("DATABASE_URL") or os.environ["DATABASE_URL"]
        urls["DATABASE_URL"] = stack.enter_context(postgres.new_database(url))
        # copier: endif
        # copier: if "redis" in stores
        url = urls.get("REDIS_URL") or os.environ["REDIS_URL"]
        urls["REDIS_PREFIX"] = stack.enter_context(redis.own_prefix(url))
        # copier: endif
        yield urls


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """End in the regular way at SIGTERM, so that what was started is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
