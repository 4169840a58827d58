"""Locks between commands that run at the same time."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def locked(file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock until the end of the block; a process that ends in any way holds it no longer.

    On Windows, which has no such locks, nobody waits.

    Args:
        file: carries the lock, and stays.
        waiting: is printed where another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="ascii") as opened:
        if sys.platform != "win32":
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(waiting, file=sys.stderr)
                fcntl.flock(opened, fcntl.LOCK_EX)
        yield
