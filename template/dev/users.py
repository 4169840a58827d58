"""The processes that use a store: the last one stops it, whichever has started it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from dev.locks import locked


def changing(folder: Path, name: str) -> AbstractContextManager[None]:
    """Start or stop a store in this block, while no other process does.

    Args:
        folder: of the store.
        name: of the store.
    """
    return locked(folder / "lock", f"another command starts or stops {name}, waiting ...")


@contextlib.contextmanager
def used(folder: Path, name: str, stop: Callable[[], None]) -> Iterator[None]:
    """Use a store, and stop it afterwards unless another process still uses it.

    Args:
        folder: of the store.
        name: of the store.
        stop: stops the store.
    """
    users = folder / "users"
    users.mkdir(exist_ok=True)
    own = users / f"{os.getpid()}"
    own.touch()
    try:
        yield
    finally:
        with changing(folder, name):
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
