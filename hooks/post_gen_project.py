"""The second way in: Cookiecutter asks, Copier renders, so that `copier update` works afterwards.

Cookiecutter fills in the last line of this file and runs it in the folder of the new project.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STUB = "NOT-RENDERED.md"
URL = re.compile(r"(ssh|file|https?):|\w+@[\w.]+")
# What Copier recognises as a git repository.
GIT = re.compile(r"g[hl]:|git@|git://|git\+|https://git(hub|lab)\.com/|.*\.git$")
MISSING = (
    "Copier renders this template: install it (`pip install copier`), or uv or pipx, and try again."
)
NEXT_STEPS = 'cd there, git init && git add -A && git commit -m "Start", then make dev'


def copier() -> list[str]:
    """Return the command that runs Copier: this Python's, that on PATH, or that of uvx or pipx."""
    spec = importlib.util.find_spec("copier")
    if spec and spec.origin:
        return [sys.executable, "-m", "copier"]
    for name, *rest in (["copier"], ["uvx", "copier"], ["pipx", "run", "copier"]):
        path = shutil.which(name)
        if path:
            return [path, *rest]
    sys.exit(MISSING)


def source(context: dict[str, Any], places: list[Path]) -> tuple[str, Path]:
    """Return the template as Copier understands it, and the folder that a path is relative to."""
    template: str = context["_template"]
    if template.lower().endswith(".zip"):
        sys.exit("A zip file has no history to update from: give the repository itself.")
    if GIT.match(template):
        return template, places[0]
    if URL.match(template):
        return f"git+{template}", places[0]
    for place in places:
        if (place / template / "cookiecutter.json").is_file():
            return template, place
    # An abbreviation of the user's, or a clone that Cookiecutter has kept: git knows its origin.
    origin = origin_of(context.get("_repo_dir", "."))
    if not origin:
        sys.exit(f"Cannot find {template}: give its full path or its URL.")
    if URL.match(origin):
        return source(context | {"_template": origin}, places)
    return origin, places[0]


def origin_of(clone: str) -> str:
    """Return where a clone came from; nothing if it is no clone."""
    if not Path(clone).is_absolute():
        return ""
    command = ["git", "-C", clone, "remote", "get-url", "origin"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip()


def answers(context: dict[str, Any]) -> Iterator[str]:
    """Yield the answers as arguments for Copier."""
    for name, value in context.items():
        if name in context["_several"]:
            chosen = split_choices(name, value, context["_several"][name])
            yield f"--data={name}={json.dumps(chosen)}"
        elif not name.startswith("_"):
            yield f"--data={name}={value}"


def split_choices(name: str, text: str, offered: list[str]) -> list[str]:
    """Return the choices in a text with commas between them; refuse what is not offered."""
    chosen = [word for word in re.split(r"[\s,]+", text) if word not in ("", "none")]
    unknown = sorted(set(chosen) - set(offered))
    if unknown:
        sys.exit(f"{name}: {', '.join(unknown)} is not one of {', '.join(offered)}, none.")
    return chosen


def render(context: dict[str, Any]) -> None:
    """Have Copier render the project into this folder; if it fails, end with one line that says why."""
    folder = Path.cwd()
    (folder / STUB).unlink(missing_ok=True)
    if {path.name for path in folder.iterdir()} - {".git"}:
        sys.exit(f"{folder} is not empty: choose another folder, or use `copier update` in it.")
    output = Path(context.get("_output_dir", folder.parent))
    template, place = source(context, [Path(os.environ.get("PWD", output)), output])
    reference = context.get("_checkout") or context.get("_commit")  # Cookiecutter's, cruft's
    command = [*copier(), "copy", "--defaults", "--quiet", *answers(context)]
    if reference:
        command.append(f"--vcs-ref={reference}")
    # Python would otherwise look for modules in the folder that the user happens to be in.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            [*command, template, str(folder)],
            cwd=place,
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except (OSError, ValueError) as exc:
        sys.exit(f"Copier could not be run: {exc}")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"Copier ended with {done.returncode}."]
        sys.exit(re.sub(r"^[\w.]*(Error|Exception): ", "", lines[-1]))
    sys.stderr.write(done.stderr)
    print(f"{folder} is ready: {NEXT_STEPS}")


if __name__ == "__main__":
    # JSON twice: the inner one is the data, the outer one makes it a string literal.
    render(json.loads({{ cookiecutter | jsonify | jsonify }}))  # type: ignore  # noqa # fmt: skip
