"""Render the template, fast and without a trace of this repository's history."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from tests.support import compiled
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
