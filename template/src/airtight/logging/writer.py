"""Writes whole lines to a stream without ever waiting for its reader."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol

from .complaints import complain

# About 16,000 access lines, or a thousand tracebacks; far below the memory of a small container.
MAX_BUFFERED = 4_000_000  # bytes
RETRY_SECONDS = 0.5


class Target(Protocol):
    """What lines are written to."""

    name: str
    max_line: int  # bytes

    def write(self, line: bytes) -> int:
        """Write what can be written without waiting, and return how many bytes that were."""

    def wait(self, seconds: float) -> None:
        """Wait until something can be written, at most some seconds."""

    def close(self) -> None:
        """Close what was opened for writing."""


class LineWriter:
    """Writes lines at once where that is possible, else as soon as it is.

    A line that cannot be written now, because the reader is slow or the disk is full, goes into a
    buffer. A thread empties it, which exists only while there is something in it. When the buffer
    is full, new lines are dropped; they are counted, and reported after the stream has recovered.

    Args:
        target: what is written to.
        report_dropped: is called with the number of lines that were dropped, once it can be logged.
    """

    total_dropped: ClassVar[int] = 0  # lines, by all writers of this process

    def __init__(self, target: Target, report_dropped: Callable[[str, int], None]) -> None:
        self.target = target
        self._report_dropped = report_dropped
        self._patient_until = 0.0
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        # Reentrant, since the garbage collector may run a `__del__` that logs within a write.
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._is_writing = False
        self._is_broken = False
        self._is_dropping = False
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Write a line, or put it into the buffer; never raise, never wait for a reader."""
        with self._lock:
            if self._lines or self._is_writing or not self._write_at_once(line):
                self._put_into_buffer(line)
        if self._lines:
            self._handle_backlog()
        elif self._dropped:
            self._report()

    def _write_at_once(self, line: bytes) -> bool:
        """Write a line past the empty buffer, and return whether it was written."""
        self._is_writing = True
        try:
            written = self.target.write(line)
        except OSError as exc:
            self._handle_error(exc)
            return False
        finally:
            self._is_writing = False
        self._is_broken = False
        if 0 < written < len(line):
            self._lines.appendleft(line[written:])
            self._size += len(line) - written
        return written > 0

    def _put_into_buffer(self, line: bytes) -> None:
        if self._size + len(line) > MAX_BUFFERED:
            self._write_buffer()
        if self._size + len(line) > MAX_BUFFERED:
            self._drop()
            return
        self._lines.append(line)
        self._size += len(line)
        self._write_buffer()

    def flush(self, timeout: float) -> bool:
        """Write what is buffered, and return whether all of it was written.

        Lines that follow within the same time are flushed, too: a server logs that it has stopped
        after it has stopped the application, and what then ends the process runs no exit handlers.

        Args:
            timeout: the most seconds to wait for a reader that is slow.
        """
        self._patient_until = time.monotonic() + timeout
        is_empty = self._flush()
        if is_empty and self._dropped:
            self._report()
        return is_empty

    def close(self) -> None:
        """Close the target."""
        with self._lock:
            LineWriter.total_dropped += len(self._lines)
            self._lines.clear()
            self.target.close()

    def _flush(self) -> bool:
        while True:
            with self._lock:
                self._write_buffer()
                if not self._lines:
                    return True
                seconds = self._patient_until - time.monotonic()
                if self._is_broken or self._is_writing or seconds <= 0:
                    return False
            self.target.wait(seconds)

    def _write_buffer(self) -> None:
        """Write as many lines as possible; the lock is held."""
        if self._is_writing:
            return  # a line that was logged within a write; the write goes on with it
        self._is_writing = True
        try:
            while self._lines:
                line = self._lines[0]
                written = self.target.write(line)
                self._size -= written
                self._is_broken = False
                if written < len(line):
                    self._lines[0] = line[written:]
                    return
                self._lines.popleft()
            self._is_dropping = False
        except OSError as exc:
            self._handle_error(exc)
        finally:
            self._is_writing = False

    def _handle_error(self, exc: OSError) -> None:
        if not self._is_broken:
            place = self.target.name
            complain(f"cannot write to {place} ({exc!r}); unless that ends, records are lost")
        self._is_broken = True

    def _drop(self) -> None:
        self._dropped += 1
        LineWriter.total_dropped += 1
        if not self._is_dropping and not self._is_broken:
            complain(f"nobody reads the log from {self.target.name}, records are lost")
        self._is_dropping = True

    def _report(self) -> None:
        with self._lock:
            dropped = self._dropped
            self._dropped = 0
        if dropped:
            self._report_dropped(self.target.name, dropped)

    def _handle_backlog(self) -> None:
        if time.monotonic() < self._patient_until:
            self._flush()
        with self._lock:
            if not self._lines or self._thread is not None:
                return
            thread = threading.Thread(target=self._empty_buffer, name="log-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can start, as when the interpreter exits
                return
            self._thread = thread

    def _empty_buffer(self) -> None:
        """Write what is buffered, in a thread that ends with the last line."""
        while True:
            if self._is_broken:
                time.sleep(RETRY_SECONDS)
            else:
                self.target.wait(RETRY_SECONDS)
            with self._lock:
                self._write_buffer()
                if not self._lines:
                    self._thread = None
                    break
        if self._dropped:
            self._report()

    def reset_after_fork(self) -> None:
        """Forget what the parent will write itself."""
        self._reset()


_writers: weakref.WeakSet[LineWriter] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for writer in list(_writers):
        writer.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
