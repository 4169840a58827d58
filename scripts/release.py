"""Check whether the version in `pyproject.toml` can be released, and say how."""

import argparse
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## \[(?P<version>.+?)\](?: - (?P<date>\S+))?$", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d\d-\d\d")
NOTES = "### Upgrade notes"


@dataclass(frozen=True)
class Entry:
    """What a changelog says about a version."""

    date: str
    text: str


def entries(changelog: str) -> dict[str, Entry]:
    """Return what a changelog says, by version, newest first."""
    found = {}
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    for heading, end in zip(headings, ends, strict=True):
        text = changelog[heading.end() : end].strip()
        found[heading["version"]] = Entry(heading["date"] or "", text)
    return found


def numbers(version: str) -> list[int]:
    """Return the parts of a version such as 1.2.3."""
    return [int(part) for part in version.split(".")]


def step(old: str, new: str) -> str:
    """Return which kind of step leads from one version to another; nothing if it is no single step."""
    major, minor, patch = numbers(old)
    steps = {
        "major": [major + 1, 0, 0],
        "minor": [major, minor + 1, 0],
        "patch": [major, minor, patch + 1],
    }
    return next((kind for kind, version in steps.items() if version == numbers(new)), "")


def objections(version: str, changelog: str, tags: list[str]) -> list[str]:
    """Return what stands against a release, one line for each reason."""
    found = entries(changelog)
    if "Unreleased" not in found or found["Unreleased"].text:
        heading = f"## [{version}] - YEAR-MONTH-DAY"
        return [f"CHANGELOG.md: move what is under [Unreleased] to a new heading: {heading}"]
    lines = []
    entry = found.get(version, Entry("", ""))
    if not DATE.fullmatch(entry.date) or not entry.text:
        missing = "has no heading with a date, or nothing under it"
        lines.append(f"CHANGELOG.md: [{version}] of pyproject.toml {missing}")
    if f"v{version}" in tags:
        lines.append(f"pyproject.toml: {version} is released; give the next version")
    released = [other for other in found if other not in ("Unreleased", version)]
    if released and not lines:
        lines += objections_to_step(released[0], version, entry.text)
    return lines


def objections_to_step(old: str, new: str, text: str) -> list[str]:
    """Return what stands against a version after another one, given what the changelog says."""
    kind = step(old, new)
    breaking = ["major"]
    if new.startswith("0."):
        breaking.append("minor")
    if not kind:
        return [f"pyproject.toml: {new} is not the version after {old}"]
    if NOTES in text and kind not in breaking:
        needed = f"what needs upgrade notes is a {breaking[-1]} step"
        return [f"pyproject.toml: {needed}, not a {kind} one"]
    if kind == "major" and NOTES not in text:
        return [f"CHANGELOG.md: a major step needs {NOTES}"]
    return []


def git(*arguments: str) -> str:
    """Run git in this repository, and return what it prints."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def notes_of(tag: str, changelog: str) -> str:
    """Return what a changelog says about the version of a tag such as `v1.2.3`; ends if nothing."""
    entry = entries(changelog).get(tag.removeprefix("v"))
    if entry is None or not entry.text:
        sys.exit(f"CHANGELOG.md: there is nothing about {tag}")
    return entry.text


def check() -> None:
    """Print the commands that release, or what stands against it."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = pyproject["project"]["version"]
    lines = objections(version, read_changelog(), git("tag").split())
    if git("status", "--porcelain"):
        lines.append("git: commit or remove what is not committed")
    if lines:
        sys.exit("\n".join(lines))
    print("When CI is green:\n")
    print(f'  git tag --annotate v{version} --message "{version}"')
    print(f"  git push origin v{version}")


def read_changelog() -> str:
    """Return the changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def main() -> None:
    """Check the version, or print the notes of a tag: `--notes v1.2.3`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", metavar="TAG", help="print what the changelog says about a tag")
    tag = parser.parse_args().notes
    if tag:
        print(notes_of(tag, read_changelog()))
    else:
        check()


if __name__ == "__main__":
    main()
