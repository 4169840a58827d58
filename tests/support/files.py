"""Read and write files as git has them: UTF-8, and lines that end with a line feed."""

import os
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """A file in a tree."""

    content: bytes
    executable: bool


Tree = dict[str, File]


def read(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write a file, in place of what was there."""
    path.write_text(text, encoding="utf-8", newline="\n")


def change(folder: Path, path: str, old: str, new: str) -> None:
    """Replace a text that a file has exactly once."""
    text = read(folder / path)
    count = text.count(old)
    assert count == 1, f"{old!r} stands {count} times in {path}"
    write(folder / path, text.replace(old, new))


def tree(folder: Path) -> Tree:
    """Return the files below a folder by path, but those of git."""
    files: Tree = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and ".git" not in name.parts:
            executable = os.access(path, os.X_OK)
            files[name.as_posix()] = File(path.read_bytes(), executable)
    return files


def empty_folders(folder: Path) -> list[Path]:
    """Return the folders below a folder that hold nothing."""
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    return [path for path in folders if not any(path.iterdir())]
