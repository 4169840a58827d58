"""Workers that are killed at a given step: `python -m tests.support.mortal`.

Each line of stdin names a function of ours and a number: how many lines of ours after its beginning to die.
"""

import asyncio
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
    "guard.py",
    "services/orders.py",
    "clients/orders.py",
    "printer.py",
    "tax_office.py",
)


def die_in(function: str, step: int) -> None:
    """Have this process killed so many lines of ours after a function has begun."""
    left = -1

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        name = frame.f_code.co_filename
        if not (
            name.startswith(SOURCE) and name.endswith(ON_THE_WAY)
        ) or frame.f_code.co_name.startswith("<"):
            return None
        if left < 0 and frame.f_code.co_name == function:
            left = step
        if event == "line" and left >= 0:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


if __name__ == "__main__":
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            die_in(line.split()[0], int(line.split()[1]))
            asyncio.run(worker.main())
        _, status = os.waitpid(pid, 0)
        os.write(2, f"{os.WTERMSIG(status)}\n".encode())
