"""Git repositories in temporary folders: of the template, and of projects that were rendered from it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PARTS = ("copier.yml", "cookiecutter.json", "hooks", "template", "{{ cookiecutter.__folder }}")
NOT_OURS = shutil.ignore_patterns("__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", "uv.lock")
SOMEBODY = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL")} | SOMEBODY
Done = subprocess.CompletedProcess[str]


def run(folder: Path, *command: str, **environment: str) -> Done:
    """Run a command in a folder as a shell would."""
    env = ENVIRONMENT | {"PWD": str(folder)} | environment
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False)


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints; fail if it does."""
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copier(folder: Path, *arguments: str) -> Done:
    """Run the command that users type."""
    return run(folder, sys.executable, "-m", "copier", *arguments)


def take_template(folder: Path) -> None:
    """Put the template as it is now into a folder, in place of what is there."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(ROOT / part, folder / part, ignore=NOT_OURS)
        else:
            shutil.copy(ROOT / part, folder)


def commit(folder: Path, message: str, tag: str = "") -> None:
    """Commit all that is in a folder, a repository or not yet one."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    if tag:
        git(folder, "tag", tag)


def tree(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Return all files by path, with content and whether they can be executed; git's own are left out."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
