"""Workers that are killed at a chosen step: `python -m tests.support.mortal`.

Each line of stdin names a function of ours and a number: how many lines of ours after the function
is entered the worker is killed.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from src import worker

SOURCE = str(Path(worker.__file__).parent)
ON_THE_WAY = (
    "worker.py",
    "messages.py",
    "services/orders.py",
    "clients/orders.py",
    "order_stream.py",
    "printer.py",
    "tax_office.py",
)


class Killer:
    """Kills this process so many lines of ours after a function is entered."""

    def __init__(self, function: str, step: int) -> None:
        self._function = function
        self._step = step
        self._left = -1  # not entered yet

    def follow_lines(self) -> None:
        """Follow every line of this process."""
        threading.settrace(self.trace)
        sys.settrace(self.trace)

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count a line; what `sys.settrace` takes."""
        code = frame.f_code
        is_ours = code.co_filename.startswith(SOURCE) and code.co_filename.endswith(ON_THE_WAY)
        if not is_ours or code.co_name.startswith("<"):
            return None
        if self._left < 0 and code.co_name == self._function:
            self._left = self._step
        if event == "line" and self._left >= 0:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
        return self.trace


if __name__ == "__main__":
    for line in sys.stdin:
        function, step = line.split()
        pid = os.fork()
        if not pid:
            Killer(function, int(step)).follow_lines()
            worker.main()
        _, status = os.waitpid(pid, 0)
        os.write(2, f"{os.WTERMSIG(status)}\n".encode())
