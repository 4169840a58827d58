"""Lines are written whole and in order, or counted, and no caller waits for a reader."""

import errno
import threading
from collections import deque

import pytest

from src.airtight.logging.truncation import fit
from src.airtight.logging.writer import MAX_BUFFERED, LineWriter


class Pipe:
    """A target that takes as many bytes as it has room for.

    Attributes:
        room: the bytes that can be written before somebody reads.
        is_broken: whether each write fails.
    """

    name = "pipe"
    max_line = 4_096

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.is_broken = False
        self.written = b""
        self.is_ready = threading.Event()
        self.is_closed = False

    def write(self, line: bytes) -> int:
        """Take a part of a line."""
        if self.is_broken:
            raise OSError(errno.ENOSPC, "no space left")
        part = line[: self.room]
        self.room -= len(part)
        self.written += part
        return len(part)

    def wait(self, seconds: float) -> None:
        """Wait for a reader."""
        self.is_ready.wait(seconds)

    def read(self) -> None:
        """Make room, as a reader does."""
        self.room = 10 * MAX_BUFFERED
        self.is_ready.set()

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


@pytest.fixture
def reports() -> deque[int]:
    """The numbers of dropped lines that were reported."""
    return deque()


def writer_to(pipe: Pipe, reports: deque[int]) -> LineWriter:
    """Return a writer that adds to the reports."""
    return LineWriter(pipe, lambda _, count: reports.append(count))


def test_line_that_fits_is_written_at_once(reports: deque[int]) -> None:
    """With a reader there is no buffer and no thread."""
    pipe = Pipe(room=100)
    before = threading.active_count()
    writer_to(pipe, reports).write(b"one\n")
    assert pipe.written == b"one\n"
    assert threading.active_count() == before


def test_lines_without_a_reader_follow_whole_and_in_order(reports: deque[int]) -> None:
    """What a pipe has no room for waits in the buffer, a rest of a line first."""
    pipe = Pipe(room=6)
    writer = writer_to(pipe, reports)
    for line in (b"first\n", b"second\n", b"third\n"):
        writer.write(line)
    assert pipe.written == b"first\n"
    pipe.room = 3
    writer.write(b"fourth\n")
    assert pipe.written == b"first\nsec"
    pipe.read()
    assert writer.flush(timeout=10)
    assert pipe.written == b"first\nsecond\nthird\nfourth\n"
    assert not reports


def test_lines_beyond_the_buffer_are_counted_and_reported(reports: deque[int]) -> None:
    """A buffer that is full drops new lines; how many is reported when there is a reader again."""
    pipe = Pipe()
    writer = writer_to(pipe, reports)
    line = b"x" * (MAX_BUFFERED // 2) + b"\n"
    before = LineWriter.total_dropped
    for _ in range(4):
        writer.write(line)
    dropped = LineWriter.total_dropped - before
    assert dropped > 0
    pipe.read()
    assert writer.flush(timeout=10)
    assert pipe.written == line * (4 - dropped)
    assert sum(reports) == dropped


def test_broken_target_raises_nothing(
    reports: deque[int], capfd: pytest.CaptureFixture[str]
) -> None:
    """A write that fails is said once on stderr, and lines follow when the target works again."""
    pipe = Pipe(room=100)
    pipe.is_broken = True
    writer = writer_to(pipe, reports)
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert not writer.flush(timeout=0)
    assert capfd.readouterr().err.count("cannot write to pipe") == 1
    pipe.is_broken = False
    assert writer.flush(timeout=10)
    assert pipe.written == b"one\ntwo\n"


def test_closed_writer_counts_what_is_left(reports: deque[int]) -> None:
    """Lines that were never written count as dropped."""
    pipe = Pipe()
    writer = writer_to(pipe, reports)
    writer.write(b"one\n")
    before = LineWriter.total_dropped
    writer.close()
    assert pipe.is_closed
    assert LineWriter.total_dropped == before + 1


@pytest.mark.parametrize("limit", [300, 1_000, 4_000])
def test_record_is_cut_to_the_length_of_a_line(limit: int) -> None:
    """The longest fields are cut, those that say which record it is are left."""
    fields = {
        "level": "ERROR",
        "correlation_id": "mine",
        "message": "m" * 5_000,
        "body": ["b" * 100] * 100,
        "exception": "\n".join(f"line {number}" for number in range(1_000)),
    }

    def format_line(fields: dict[str, object]) -> bytes:
        return repr(fields).encode()

    line = fit(fields, limit, format_line)
    assert len(line) <= limit
    assert b"'correlation_id': 'mine'" in line
    assert b"'truncated': True" in line
    if limit == 4_000:
        assert b"line 999" in line
