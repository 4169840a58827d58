"""Render the template, fast and without a trace of this repository's history."""

import os
import shutil
from pathlib import Path
from typing import Any

import copier
import pytest

from tests.support.template import IGNORED, ROOT, Render


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
        with pytest.MonkeyPatch.context() as environment:
            # Where Copier finds git, it starts it for each file.
            environment.setenv("PATH", os.devnull)
            copier.run_copy(str(snapshot), target, data=answers, defaults=True, quiet=True)
        return target

    return run
