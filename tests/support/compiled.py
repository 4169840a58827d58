"""Compile each text of the template once in a run of the tests, for all of its processes.

Copier compiles each text in each render, which takes half of the time, and asks git for each file
whether the mode of files counts, which takes another part. As a program this is Copier's own
command, with what other processes have compiled, and without the questions.
"""

import functools
import hashlib
import marshal
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

from copier._main import Worker
from jinja2 import Environment

FOLDER = "COMPILED_TEMPLATES"  # the variable with the folder that the processes share
OPTIONS = ("block_start_string", "variable_start_string", "line_statement_prefix")


def compile_once(folder: Path) -> Any:
    """Return a method for `Environment.compile` that keeps in a folder what it has compiled."""
    compile_text = Environment.compile
    in_memory: dict[str, Any] = {}

    @functools.wraps(compile_text)
    def compiled(
        self: Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        **options: Any,
    ) -> Any:
        delimiters = [getattr(self, option) for option in OPTIONS]
        text = repr((delimiters, source, name, options))  # the file may be in a temporary folder
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in in_memory:
            file = folder / key
            if not file.exists():
                code = compile_text(self, source, name, filename, **options)
                write_whole(file, marshal.dumps(code))
            in_memory[key] = marshal.loads(file.read_bytes())
        return in_memory[key]

    return compiled


def write_whole(file: Path, content: bytes) -> None:
    """Write a file that others see as a whole, or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
        part.write(content)
    Path(part.name).replace(file)


def ask_nothing(*_: Any) -> None:
    """Leave modes to git, which is told about them only where it does not see them."""


if __name__ == "__main__":
    Environment.compile = compile_once(Path(os.environ[FOLDER]))  # type: ignore[method-assign]
    Worker._sync_git_index_executable_bit = ask_nothing  # type: ignore[assignment, method-assign]
    runpy.run_module("copier", run_name="__main__", alter_sys=True)
