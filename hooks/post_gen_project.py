"""The second door: Cookiecutter asks, Copier renders, so that `copier update` works afterwards.

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
GIT = re.compile(
    r"g[hl]:|git@|git://|git\+|https://git(hub|lab)\.com/|.*\.git$"
)  # what Copier takes for git by itself
MISSING = (
    "Copier renders this template: install it (`pip install copier`), or uv or pipx, and try again."
)


def copier() -> list[str]:
    """Return the command that runs Copier: this Python's, the one on PATH, or one that uvx or pipx fetches."""
    spec = importlib.util.find_spec("copier")
    if spec and spec.origin:
        return [sys.executable, "-m", "copier"]
    for name, *rest in (["copier"], ["uvx", "copier"], ["pipx", "run", "copier"]):
        if path := shutil.which(name):
            return [path, *rest]
    sys.exit(MISSING)


def source(context: dict[str, Any], places: list[Path]) -> tuple[str, Path]:
    """Return the template in words that Copier understands, and the folder that they are relative to."""
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
    # An abbreviation of the user's, or a clone that Cookiecutter has kept: its clone knows where it came from.
    command = ["git", "-C", context.get("_repo_dir", "."), "remote", "get-url", "origin"]
    origin = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False
    ).stdout.strip()
    if not origin or not Path(command[2]).is_absolute():
        sys.exit(f"Cannot tell where {template} is: give its full path or its URL.")
    return (
        source(context | {"_template": origin}, places)
        if URL.match(origin)
        else (origin, places[0])
    )


def answers(context: dict[str, Any]) -> Iterator[str]:
    """Yield the answers as arguments for Copier."""
    for name, value in context.items():
        if name in context["_several"]:
            chosen = [word for word in re.split(r"[\s,]+", value) if word not in ("", "none")]
            if unknown := sorted(set(chosen) - set(context["_several"][name])):
                sys.exit(
                    f"{name}: {', '.join(unknown)} is not one of {', '.join(context['_several'][name])}, none."
                )
            yield f"--data={name}={json.dumps(chosen)}"
        elif not name.startswith("_"):
            yield f"--data={name}={value}"


def render(context: dict[str, Any]) -> None:
    """Have Copier render the project into this folder; if it cannot, end with one line that says why."""
    folder = Path.cwd()
    (folder / STUB).unlink(missing_ok=True)
    if {path.name for path in folder.iterdir()} - {".git"}:
        sys.exit(f"{folder} is not empty: choose another folder, or use `copier update` in it.")
    output = Path(context.get("_output_dir", folder.parent))
    template, place = source(context, [Path(os.environ.get("PWD", output)), output])
    reference = context.get("_checkout") or context.get("_commit")  # Cookiecutter's, cruft's
    command = [*copier(), "copy", "--defaults", "--quiet", *answers(context)]
    command += [f"--vcs-ref={reference}"] if reference else []
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
        last = (done.stderr.strip() or f"Copier ended with {done.returncode}.").splitlines()[-1]
        sys.exit(re.sub(r"^[\w.]*(Error|Exception): ", "", last))
    sys.stderr.write(done.stderr)
    print(
        f'{folder} is ready: cd there, git init && git add -A && git commit -m "Start", then make dev'
    )


if __name__ == "__main__":
    # JSON twice: the inner one is the data, the outer one makes it a string literal, whatever it holds.
    render(json.loads({{ cookiecutter | jsonify | jsonify }}))  # type: ignore  # noqa # fmt: skip
