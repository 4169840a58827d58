"""`LOG_FILE`: a second place for the log, which gives way to a new file when it is full."""

import os
import time
from pathlib import Path

from .stdout import MAX_LINE, write_rest

MAX_FILE = 10_000_000  # bytes
OLD_FILES = 5
ONLY_FOR_OWNER = 0o600  # records name customers
CHECK_SECONDS = 1.0
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class LogFile:
    """Appends lines to a file; old ones are `file.1`, the newest, to `file.5`.

    A file that was removed or moved, also with its folder, is created again.

    Args:
        path: of the file.
    """

    max_line = MAX_LINE

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._fd = -1
        self._size = 0
        self._checked_at = 0.0

    def write(self, line: bytes) -> int:
        """Append a line.

        Raises:
            OSError: the line could not be written.
        """
        self._open()
        if self._size + len(line) > MAX_FILE:
            self._rotate()
        written = os.write(self._fd, line)
        if written < len(line):
            written = write_rest(self._fd, line, written)
        self._size += written
        return written

    def wait(self, seconds: float) -> None:
        """Return at once: what keeps a file from being written raises an error."""

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        now = time.monotonic()
        if self._fd >= 0 and now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        if self._fd >= 0 and not self._is_in_place():
            self.close()
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, FLAGS, ONLY_FOR_OWNER)
            self._size = os.fstat(self._fd).st_size

    def _is_in_place(self) -> bool:
        """Return whether the file that is open is still the one of that name."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    def _rotate(self) -> None:
        self.close()
        for number in range(OLD_FILES, 0, -1):
            source = self._path if number == 1 else self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
