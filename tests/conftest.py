"""Render the template, fast and without a trace of this repository's history."""

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from tests.support.template import IGNORED, ROOT, Render, render_into


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile each text of the template once; Copier does it for each render, in half of its time."""
    compile_text = Environment.compile
    compiled: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(compile_text)
    def compile_once(self: Environment, *arguments: Any, **options: Any) -> Any:
        delimiters = (self.block_start_string, self.line_statement_prefix)
        key = (delimiters, arguments, *options.items())
        if key not in compiled:
            compiled[key] = compile_text(self, *arguments, **options)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_once)
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
