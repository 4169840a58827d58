"""What all processes of a run of the tests share; the first of them begins and ends it."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import fork_server

FOLDER = "SHARED_FOLDER"  # the variable with the folder that the processes share


def pytest_configure(config: pytest.Config) -> None:
    """Begin what is shared, unless another process of the run has started this one."""
    if hasattr(config, "workerinput"):
        return
    shared = ExitStack()
    config.add_cleanup(shared.close)
    folder = shared.enter_context(tempfile.TemporaryDirectory(prefix="tests-"))
    Path(folder).chmod(0o755)  # other users may enter it, as a process that root starts may be one
    os.environ[FOLDER] = folder
    if fork_server.CAN_FORK:
        os.environ[fork_server.ADDRESS] = shared.enter_context(fork_server.running())
