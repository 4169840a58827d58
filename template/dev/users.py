"""The processes that use a store: the last one stops it, whichever has started it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


@contextlib.contextmanager
def used(folder: Path, stop: Callable[[], None]) -> Iterator[None]:
    """Use a store, and stop it afterwards unless another process still uses it.

    Args:
        folder: where the store has its data.
        stop: stops the store.
    """
    users = folder / "users"
    users.mkdir(exist_ok=True)
    own = users / f"{os.getpid()}"
    own.touch()
    try:
        yield
    finally:
        own.unlink(missing_ok=True)
        others = [int(user.name) for user in users.iterdir()]
        if not any(map(is_running, others)):
            stop()


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that was killed may exist until its parent notices."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
