"""What is wrong with the log itself is said on stderr, if that is possible without waiting."""

import os
import sys
from contextlib import suppress

from .stdout import build_poll

STDERR = 2


def complain(text: str) -> None:
    """Write a line to stderr; a stderr that is broken, closed or full is left alone."""
    if sys.__stderr__ is None:  # the descriptor was closed at start, and is something else by now
        return
    with suppress(OSError, ValueError):
        poll = build_poll(STDERR)
        if poll is None or poll.poll(0):
            os.write(STDERR, f"logging: {text}\n".encode(errors="backslashreplace"))
