"""Standard output, as a target for lines."""

import errno
import os
import select
import stat
import sys
import time
from typing import Any

STDOUT = 1
# On a pipe Linux keeps a write of up to PIPE_BUF bytes whole, also if others write to it: other
# workers, a supervisor, a shell. It never takes a part of one, and a longer one may be torn apart.
MAX_PIPE_LINE = 4_096  # bytes, with the line break
# Files, terminals and sockets keep a line of this length whole.
MAX_LINE = 32_000  # bytes, with the line break


class StdoutClosedError(OSError):
    """The standard output was closed."""


class Stdout:
    """Writes to the descriptor 1, past the buffers of `print` in which a line could be lost.

    A pipe is opened a second time, without blocking: the flag of descriptor 1 itself belongs to
    all processes that share it.
    """

    name = "stdout"

    def __init__(self) -> None:
        # Python found it closed at start, so that its number may be that of any file by now.
        self._is_closed = sys.__stdout__ is None
        mode = _mode(STDOUT)
        self._is_file = stat.S_ISREG(mode)
        self._own_fd = -1
        self.max_line = MAX_LINE
        if stat.S_ISFIFO(mode):
            self.max_line = MAX_PIPE_LINE
            self._own_fd = _open_again(STDOUT)
        self._fd = STDOUT
        # Before a write that could block, the descriptor is polled; that costs half a microsecond.
        self._poll = None
        if self._own_fd >= 0:
            self._fd = self._own_fd
        elif not self._is_file:
            self._poll = build_poll(STDOUT)

    def write(self, line: bytes) -> int:
        """Write what can be written without waiting, and return how many bytes that were."""
        if self._poll is not None and not self._poll.poll(0):
            return 0
        if self._is_closed:
            raise StdoutClosedError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            written = os.write(self._fd, line)
        except BlockingIOError:
            return 0
        if self._is_file and written < len(line):
            return write_rest(self._fd, line, written)
        return written

    def wait(self, seconds: float) -> None:
        """Wait until something can be written, at most some seconds."""
        poll = build_poll(self._fd)  # one that is in use by another thread would raise
        if poll is None:
            time.sleep(seconds)
        else:
            poll.poll(seconds * 1_000)

    def close(self) -> None:
        """Close the second descriptor of a pipe."""
        if self._own_fd >= 0:
            os.close(self._own_fd)
            self._own_fd = -1
            self._fd = STDOUT
            self._poll = build_poll(STDOUT)


def write_rest(fd: int, line: bytes, written: int) -> int:
    """Write the rest of a line to a file, or take back what the file has of it.

    A disk that is full takes the part for which it has room. The next line, or that of another
    process, must not be glued to it.

    Raises:
        OSError: the rest could not be written.
    """
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        end = os.lseek(fd, 0, os.SEEK_CUR)
        if os.fstat(fd).st_size == end:  # else another process has written after it
            os.ftruncate(fd, end - written)
            os.lseek(fd, end - written, os.SEEK_SET)
        raise
    return written


def build_poll(fd: int) -> Any:
    """Return what says whether something can be written; None where the system has no `poll`."""
    if not hasattr(select, "poll"):  # on Windows
        return None
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return poll


def _mode(fd: int) -> int:
    try:
        return os.fstat(fd).st_mode
    except OSError:
        return 0


def _open_again(fd: int) -> int:
    """Return a descriptor of its own for a pipe, which does not block; -1 where it cannot be had.

    Only Linux opens a pipe by its descriptor; others return one that shares its flags.
    """
    if not sys.platform.startswith("linux"):
        return -1
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # of another user, or nobody reads
        return -1
