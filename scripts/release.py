"""Check whether the version in `pyproject.toml` can be released, and say how."""

import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## \[(.+?)\](?: - (\S+))?$", re.MULTILINE)
NOTES = "### Upgrade notes"


def sections(changelog: str) -> dict[str, tuple[str, str]]:
    """Return for each version in a changelog, newest first, its date and its text."""
    headings = [*HEADING.finditer(changelog), None]
    return {
        one[1]: (one[2] or "", changelog[one.end() : after.start() if after else None].strip())
        for one, after in pairwise(headings)
        if one
    }


def numbers(version: str) -> list[int]:
    """Return the parts of a version such as 1.2.3."""
    return [int(part) for part in version.split(".")]


def step(old: str, new: str) -> str:
    """Return which kind of step leads from one version to another; none if it is not a single step."""
    major, minor, patch = numbers(old)
    steps = {
        "major": [major + 1, 0, 0],
        "minor": [major, minor + 1, 0],
        "patch": [major, minor, patch + 1],
    }
    return next((kind for kind, version in steps.items() if version == numbers(new)), "")


def objections(version: str, changelog: str, tags: list[str]) -> list[str]:
    """Return what stands against a release, one line for each reason."""
    found = sections(changelog)
    date, text = found.get(version, ("", ""))
    if "Unreleased" not in found or found["Unreleased"][1]:
        return [
            f"CHANGELOG.md: move what is under [Unreleased] to a new heading: ## [{version}] - YEAR-MONTH-DAY"
        ]
    said = []
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date) or not text:
        said.append(
            f"CHANGELOG.md: [{version}] of pyproject.toml has no heading with a date, or nothing under it"
        )
    if f"v{version}" in tags:
        said.append(f"pyproject.toml: {version} is released; give the next version")
    released = [other for other in found if other not in ("Unreleased", version)]
    if released and not said:
        kind = step(released[0], version)
        breaking = ("major", "minor") if version.startswith("0.") else ("major",)
        if not kind:
            said.append(f"pyproject.toml: {version} is not the version after {released[0]}")
        elif NOTES in text and kind not in breaking:
            said.append(
                f"pyproject.toml: what needs {NOTES[4:].lower()} is a {breaking[-1]} step, not a {kind} one"
            )
        elif kind == "major" and NOTES not in text:
            said.append(f"CHANGELOG.md: a major step needs {NOTES}")
    return said


def main() -> None:
    """Print the commands that release, or what stands against it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    said = objections(version, changelog, git("tag").split())
    if git("status", "--porcelain"):
        said.append("git: commit or remove what is not committed")
    if said:
        sys.exit("\n".join(said))
    print(
        f'When CI is green:\n\n  git tag --annotate v{version} --message "{version}"\n  git push origin v{version}'
    )


if __name__ == "__main__":
    main()
