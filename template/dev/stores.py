"""Real stores without Docker, for development and tests.

They listen on free ports of the loopback interface, ask for a password of their own, keep their data in one
folder, and stop when the command that has started them ends.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if stores == ["postgres"]
from dev import postgres

# copier: endif
# copier: if stores == ["redis"]
from dev import redis

# copier: endif
# copier: if stores | length == 2
from dev import postgres, redis

# copier: endif
# copier: if false
# isort: on
# fmt: on
# copier: endif
OWN = Path(__file__).resolve().parents[1] / ".dev"


@contextlib.contextmanager
def running(folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Run the stores that the environment does not name, and give their URLs by the names of its variables.

    Args:
        folder: where they keep their data; by default nowhere, so that all is gone afterwards.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            stack.callback(signal.signal, signal.SIGTERM, before)
        durable = folder is not None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stores-")))
            folder.chmod(0o755)
        urls = {}
        # copier: if "postgres" in stores
        if not os.environ.get("DATABASE_URL"):
            urls["DATABASE_URL"] = stack.enter_context(
                postgres.running(folder / "postgres", durable=durable)
            )
        # copier: endif
        # copier: if "redis" in stores
        if not os.environ.get("REDIS_URL"):
            urls["REDIS_URL"] = stack.enter_context(
                redis.running(folder / "redis", durable=durable)
            )
        # copier: endif
        yield urls


@contextlib.contextmanager
def for_tests() -> Iterator[dict[str, str]]:
    """Give the settings of stores for tests alone; in stores that the environment names, a part of their own."""
    with running() as urls, contextlib.ExitStack() as stack:
        # copier: if "postgres" in stores
        url = urls.get("DATABASE_URL") or os.environ["DATABASE_URL"]
        urls["DATABASE_URL"] = stack.enter_context(postgres.own_database(url))
        # copier: endif
        # copier: if "redis" in stores
        url = urls.get("REDIS_URL") or os.environ["REDIS_URL"]
        urls["REDIS_PREFIX"] = stack.enter_context(redis.own_prefix(url))
        # copier: endif
        yield urls
