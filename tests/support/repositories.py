"""Git repositories in temporary folders: of the template, and of projects rendered from it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import compiled
from tests.support.files import change, read, write
from tests.support.template import IGNORED, ROOT

PARTS = (
    "copier.yml",
    "cookiecutter.json",
    "hooks",
    "template",
    "{{ cookiecutter.__folder }}",
)
SOMEBODY = {
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "a@b.example",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "a@b.example",
}
Done = subprocess.CompletedProcess[str]


def run(folder: Path, *command: str, **environment: str) -> Done:
    """Run a command in a folder as a shell would."""
    env = os.environ | SOMEBODY | {"PWD": str(folder)} | environment
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints; fail if it does."""
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copier(folder: Path, *arguments: str) -> Done:
    """Run the command that users type; it takes over what was compiled before."""
    return run(folder, sys.executable, "-P", compiled.__file__, *arguments)


def take_template(folder: Path) -> None:
    """Put the template as it is now into a folder, in place of what is there."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(ROOT / part, folder / part, ignore=IGNORED)
        else:
            shutil.copy(ROOT / part, folder)


def commit(folder: Path, message: str, tag: str = "") -> None:
    """Commit all files in a folder; make it a repository if it is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    if tag:
        git(folder, "tag", tag)


# Versions of the template. What a release changes is shown on an imagined one, and on each that there was.

# States from which services were made before the first release.
EARLIER = (
    "3f91876",
    "151fbfa",
)
BEFORE = "v1.0.0"
NOW = "v1.1.0"
NEXT = "v2.0.0"


@dataclass(frozen=True)
class Change:
    """A line that a release has changed.

    Args:
        path: the file.
        now: a text of the file as it is now.
        before: what stood there before.
    """

    path: str
    now: str
    before: str


CHANGES = (
    Change("CHANGELOG.md", "- The service begins.", "- The service is new."),
    Change(
        "Makefile",
        "format: ## Format, and fix what can be fixed\n\t@$(PYTHON) -m dev format\n",
        "",
    ),
    Change(
        "README.md",
        "A class in `src/utils/errors.py`",
        "Some lines in `src/utils/errors.py`",
    ),
    Change(".env.example", "SHUTDOWN_TIMEOUT=10\n", ""),
    Change(
        "pyproject.toml",
        '"orjson>=3.13",',
        '"orjson>=3.12",\n    "python-multipart>=0.0.20",',
    ),
    Change("src/config.py", "    shutdown_timeout: PositiveInt = 10  # seconds\n", ""),
    Change("src/main.py", '"""Build the application."""', '"""Make the application."""'),
    Change("src/utils/errors.py", "cannot answer now, but may soon", "cannot answer for a while"),
)
ADDED = "dev/house_rules.py"
REMOVED = "legacy/notes/leftover.txt"
MOVED_FROM = "tests/unit/test_config.py"
MOVED_TO = "tests/unit/test_settings.py"
NEW_QUESTION = """
owner:
  type: str
  help: Whom to ask.
  default: nobody
"""
NEW_SECTION = """# copier: if owner != "nobody"
## Owner

Ask {{ owner }}.

# copier: endif
## Layout
"""


def text_of_now(path: str) -> str:
    """Return what a file has since the release before."""
    return next(change.now for change in CHANGES if change.path == path)


def go_back(repository: Path) -> None:
    """Turn the template as it is now into one that could have been before it."""
    template = repository / "template"
    for entry in CHANGES:
        change(template, entry.path, entry.now, entry.before)
    (template / ADDED).unlink()
    (template / REMOVED).parent.mkdir(parents=True)
    write(template / REMOVED, "Read me.\n")


def go_on(repository: Path) -> None:
    """Turn the template as it is now into one that could come after it: one question and one move on."""
    template = repository / "template"
    questions = read(repository / "copier.yml")
    write(repository / "copier.yml", questions + NEW_QUESTION)
    change(template, "README.md", "## Layout\n", NEW_SECTION)
    (template / MOVED_FROM).rename(template / MOVED_TO)
    change(template, MOVED_TO, "checked before anything else happens", "checked first")


def forget_question(repository: Path, name: str, default: Any) -> None:
    """Turn the template into one that does not ask a question, and takes its default for the answer."""
    assign = f"set {name} = {default!r}"
    questions = read(repository / "copier.yml")
    questions = re.sub(rf"(?m)^{name}:\n(  .*\n)+", "", questions)
    questions = re.sub(r'(?m)^  (default|validator|when): "', rf"\g<0>{{% {assign} %}}", questions)
    write(repository / "copier.yml", questions)
    uses = re.compile(rf"(# copier:|{{{{|{{%).*\b{name}\b")
    files = [path for path in (repository / "template").rglob("*") if path.is_file()]
    for file in files:
        text = read(file)
        if uses.search(text):
            write(file, f"# copier: {assign}\n{text}")


def releases(repository: Path) -> dict[str, str]:
    """Return where the released versions are: at their tags, else where they came into the changelog."""
    if run(repository, "git", "rev-parse").returncode:
        return {}
    changelog = read(repository / "CHANGELOG.md")
    tags = git(repository, "tag").split()
    found: dict[str, str] = {}
    for version in re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE):
        if f"v{version}" in tags:
            found[version] = f"v{version}"
            continue
        log = ("log", "--reverse", "--format=%H", f"-S## [{version}]")
        commits = git(repository, *log, "--", "CHANGELOG.md").split()
        if commits:
            found[version] = commits[0]
    return found


def earlier_states(repository: Path) -> dict[str, str]:
    """Return the states before the first release that the history of the repository holds."""
    return {
        state: state
        for state in EARLIER
        if run(repository, "git", "cat-file", "-e", f"{state}^{{commit}}").returncode == 0
    }


def make_history(folder: Path, release: str | None) -> Path:
    """Make a repository of the template with a release, or an imagined one, and the state of now."""
    folder.mkdir()
    take_template(folder)
    if release is None:
        go_back(folder)
    else:
        take_release(folder, release)
    commit(folder, "Before", BEFORE)
    take_template(folder)
    commit(folder, "Now", NOW)
    return folder


def take_release(folder: Path, release: str) -> None:
    """Put a release of the template into a folder, in place of what is there."""
    (folder / "copier.yml").unlink()
    shutil.rmtree(folder / "template")
    archive = folder / "release.tar"
    git(ROOT, "archive", f"--output={archive}", release, "copier.yml", "template")
    subprocess.run(["tar", "-xf", archive], cwd=folder, check=True)
    archive.unlink()
