"""Git repositories in temporary folders: of the template, and of projects that were rendered from it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.support.template import IGNORED, ROOT

PARTS = ("copier.yml", "cookiecutter.json", "hooks", "template", "{{ cookiecutter.__folder }}")
SOMEBODY = {
    f"GIT_{who}_{what}": "a@b.example"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}
Done = subprocess.CompletedProcess[str]


def run(folder: Path, *command: str, **environment: str) -> Done:
    """Run a command in a folder as a shell would."""
    env = os.environ | SOMEBODY | {"PWD": str(folder)} | environment
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False
    )


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
            shutil.copytree(ROOT / part, folder / part, ignore=IGNORED)
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


# Versions of the template. What a release changes is shown on one that never was, and on each that there was.

NOW, BEFORE, NEXT = "v1.1.0", "v1.0.0", "v2.0.0"
CHANGED = {  # in the version before: the text of now, and what stood there
    "CHANGELOG.md": [("- The service begins.", "- The service is new.")],
    "Makefile": [
        ("format: ## Format, and mend what can be mended\n\t@$(PYTHON) -m dev format\n", "")
    ],
    "README.md": [
        ("is five lines in `src/utils/errors.py`", "is some lines in `src/utils/errors.py`")
    ],
    ".env.example": [("SHUTDOWN_TIMEOUT=10\n", "")],
    "pyproject.toml": [('"orjson>=3.13",', '"orjson>=3.12",\n    "python-multipart>=0.0.20",')],
    "src/config.py": [("    shutdown_timeout: PositiveInt = 10  # seconds\n", "")],
    "src/main.py": [('"""Build the application."""', '"""Make the application."""')],
    "src/utils/errors.py": [("cannot answer now, but may soon", "cannot answer for a while")],
}
ADDED, REMOVED = "dev/house_rules.py", "legacy/notes/leftover.txt"
MOVED = ("tests/unit/test_config.py", "tests/unit/test_settings.py")  # from, to


def change(folder: Path, path: str, old: str, new: str) -> None:
    """Replace a text that stands once in a file."""
    text = (folder / path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    (folder / path).write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def go_back(repository: Path) -> None:
    """Make of the template as it is now one that could have been before it."""
    for path, changes in CHANGED.items():
        for now, before in changes:
            change(repository / "template", path, now, before)
    (repository / "template" / ADDED).unlink()
    (repository / "template" / REMOVED).parent.mkdir(parents=True)
    (repository / "template" / REMOVED).write_text("Read me.\n", encoding="utf-8")


def go_on(repository: Path) -> None:
    """Make of the template as it is now one that could come after it: a question more, a file moved."""
    with (repository / "copier.yml").open("a", encoding="utf-8") as file:
        file.write("\nowner:\n  type: str\n  help: Whom to ask.\n  default: nobody\n")
    readme = '# copier: if owner != "nobody"\n## Owner\n\nAsk {{ owner }}.\n\n# copier: endif\n## Layout\n'
    change(repository / "template", "README.md", "## Layout\n", readme)
    old, new = (repository / "template" / path for path in MOVED)
    old.rename(new)
    change(
        repository / "template", MOVED[1], "checked before anything else happens", "checked first"
    )


def forget_question(repository: Path, name: str, default: Any) -> None:
    """Make of the template one that does not ask a question, and holds its default to be the answer."""
    assign = f"set {name} = {default!r}"
    questions = (repository / "copier.yml").read_text(encoding="utf-8")
    questions = re.sub(rf"(?m)^{name}:\n(  .*\n)+", "", questions)
    questions = re.sub(r'(?m)^  (default|validator|when): "', rf"\g<0>{{% {assign} %}}", questions)
    (repository / "copier.yml").write_text(questions, encoding="utf-8", newline="\n")
    uses = re.compile(rf"(# copier:|{{{{|{{%).*\b{name}\b")
    for file in (repository / "template").rglob("*"):
        if file.is_file() and uses.search(text := file.read_text(encoding="utf-8")):
            file.write_text(f"# copier: {assign}\n{text}", encoding="utf-8", newline="\n")


def releases(repository: Path) -> dict[str, str]:
    """Return where the released versions are: at their tags, else where they came into the changelog."""
    if run(repository, "git", "rev-parse").returncode:
        return {}
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    tags = git(repository, "tag").split()
    found: dict[str, str] = {}
    for version in re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE):
        heading = ("log", "--reverse", "--format=%H", f"-S## [{version}]", "--", "CHANGELOG.md")
        commits = [f"v{version}"] if f"v{version}" in tags else git(repository, *heading).split()
        found |= {version: commits[0]} if commits else {}
    return found


def make_history(folder: Path, release: str | None) -> Path:
    """Make a repository with a release of the template, or one that could have been, and the template as it is now."""
    folder.mkdir()
    take_template(folder)
    if release is None:
        go_back(folder)
    else:
        for part in ("copier.yml", "template"):
            shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink()
        archive = folder / "release.tar"
        git(ROOT, "archive", f"--output={archive}", release, "copier.yml", "template")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
    commit(folder, "Before", BEFORE)
    take_template(folder)
    commit(folder, "Now", NOW)
    return folder
