"""A version is released only where the changelog says what users have to know."""

import pytest

from scripts.release import notes_of, objections, step
from tests.support.template import ROOT

FIRST = "## [0.1.0] - 2026-01-01\n\n- It begins.\n"
NOTES = "### Upgrade notes\n\n- Move this.\n"


def changelog(*versions: str, unreleased: str = "") -> str:
    """Return a changelog."""
    return "\n".join(["# Changelog\n", f"## [Unreleased]\n\n{unreleased}", *versions, FIRST])


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("0.1.0", changelog()),
        ("0.1.1", changelog("## [0.1.1] - 2026-02-01\n\n- Better.\n")),
        ("0.2.0", changelog(f"## [0.2.0] - 2026-02-01\n\n{NOTES}")),
        ("1.0.0", changelog(f"## [1.0.0] - 2026-02-01\n\n{NOTES}")),
    ],
)
def test_version_can_be_released(version: str, text: str) -> None:
    """Nothing stands against a version with a dated section of its own."""
    assert objections(version, text, []) == []


@pytest.mark.parametrize(
    ("version", "text", "tags", "line"),
    [
        (
            "0.1.0",
            changelog(unreleased="- New.\n"),
            [],
            "CHANGELOG.md: move what is under [Unreleased]",
        ),
        ("0.1.0", FIRST, [], "CHANGELOG.md: move what is under [Unreleased]"),
        ("0.2.0", changelog(), [], "CHANGELOG.md: [0.2.0] of pyproject.toml has no heading"),
        (
            "0.2.0",
            changelog("## [0.2.0] - soon\n\n- New.\n"),
            [],
            "CHANGELOG.md: [0.2.0] of pyproject.toml has no",
        ),
        ("0.2.0", changelog("## [0.2.0] - 2026-02-01\n"), [], "or nothing under it"),
        ("0.1.0", changelog(), ["v0.1.0"], "pyproject.toml: 0.1.0 is released"),
        (
            "0.3.0",
            changelog("## [0.3.0] - 2026-02-01\n\n- New.\n"),
            [],
            "0.3.0 is not the version after 0.1.0",
        ),
        (
            "0.1.1",
            changelog(f"## [0.1.1] - 2026-02-01\n\n{NOTES}"),
            [],
            "is a minor step, not a patch one",
        ),
        (
            "1.0.0",
            changelog("## [1.0.0] - 2026-02-01\n\n- New.\n"),
            [],
            "a major step needs ### Upgrade notes",
        ),
    ],
)
def test_reason_against_a_release_is_one_line(
    version: str, text: str, tags: list[str], line: str
) -> None:
    """Each mistake is told with what to change."""
    [said] = objections(version, text, tags)
    assert line in said


def test_from_one_on_only_a_major_step_may_need_work() -> None:
    """An update within a major version needs no work by hand."""
    text = f"## [Unreleased]\n\n## [1.1.0] - 2026-02-01\n\n{NOTES}\n## [1.0.0] - 2026-01-01\n\n- It is good.\n"
    assert objections("1.1.0", text, []) == [
        "pyproject.toml: what needs upgrade notes is a major step, not a minor one"
    ]
    assert (step("1.9.9", "2.0.0"), step("1.9.9", "1.10.0"), step("1.9.9", "1.9.11")) == (
        "major",
        "minor",
        "",
    )


def test_changelog_of_today_has_its_form() -> None:
    """Work is noted where the next release finds it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.count("\n## [Unreleased]\n") == 1


def test_notes_of_a_release_are_those_of_the_changelog() -> None:
    """The release on GitHub says what the changelog says, without headings of other versions."""
    text = changelog("## [0.1.1] - 2026-02-01\n\n- Better.\n")
    assert notes_of("v0.1.1", text) == "- Better."
    with pytest.raises(SystemExit, match=r"nothing about v9\.9\.9"):
        notes_of("v9.9.9", text)
