"""Render the template, fast and without a trace of this repository's history."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from copier._main import Worker
from jinja2 import Environment

from tests.support import compiled
from tests.support.services import ENVIRONMENT
from tests.support.template import IGNORED, ROOT, Render, render_into


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile each text of the template once, for all tests and the commands that they run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    folder /= "compiled"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(compiled.FOLDER, str(folder))
        patch.setattr(Environment, "compile", compiled.compile_once(folder))
        patch.setattr(Worker, "_sync_git_index_executable_bit", compiled.ask_nothing)
        yield


@pytest.fixture(scope="session", autouse=True)
def mypy_cache(worker_id: str) -> Iterator[None]:
    """Have mypy check each library once, and not again in each service that is rendered."""
    folder = ROOT / ".mypy_cache" / "rendered"
    own = folder / worker_id  # since two processes cannot write to the same
    before = folder / "master"
    if before.exists() and not own.exists():
        shutil.copytree(before, own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "MYPY_CACHE_DIR", str(own))
        yield


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the template as it is now to a folder outside of git."""
    folder = tmp_path_factory.mktemp("snapshot") / "airtight"
    shutil.copytree(ROOT / "template", folder / "template", ignore=IGNORED)
    shutil.copy(ROOT / "copier.yml", folder)
    return folder


@pytest.fixture
def render(snapshot: Path, tmp_path: Path) -> Render:
    """Return a function that renders with the given answers and returns the folder."""

    def run(folder: Path | None = None, **answers: Any) -> Path:
        target = folder or tmp_path / "service"
        render_into(target, snapshot, answers)
        return target

    return run
