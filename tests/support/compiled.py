"""Compile each text of the template once in a run of the tests, for all of its processes.

Copier compiles each text in each render, which takes half of the time. As a program this is Copier's
own command, with what other processes have compiled.
"""

import functools
import hashlib
import marshal
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment

FOLDER = "COMPILED_TEMPLATES"  # the variable with the folder that the processes share
OPTIONS = ("block_start_string", "variable_start_string", "line_statement_prefix")


def compile_once(folder: Path) -> Any:
    """Return a method for `Environment.compile` that keeps in a folder what it has compiled."""
    compile_text = Environment.compile
    in_memory: dict[str, Any] = {}

    @functools.wraps(compile_text)
    def compiled(self: Environment, *arguments: Any, **options: Any) -> Any:
        delimiters = [getattr(self, name) for name in OPTIONS]
        text = repr((delimiters, arguments, options))
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in in_memory:
            file = folder / key
            if not file.exists():
                write_whole(file, marshal.dumps(compile_text(self, *arguments, **options)))
            in_memory[key] = marshal.loads(file.read_bytes())
        return in_memory[key]

    return compiled


def write_whole(file: Path, content: bytes) -> None:
    """Write a file that others see as a whole, or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
        part.write(content)
    Path(part.name).replace(file)


if __name__ == "__main__":
    Environment.compile = compile_once(Path(os.environ[FOLDER]))  # type: ignore[method-assign]
    runpy.run_module("copier", run_name="__main__", alter_sys=True)
