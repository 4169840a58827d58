"""The questions explain themselves, and a wrong answer is refused with one line that helps."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import QUESTIONS, ROOT, Render


def copy(target: Path, snapshot: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Render by the command that users type."""
    command = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        *arguments,
        str(snapshot),
        str(target),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_questions_are_few_and_explained() -> None:
    """There are twelve at the most; each has a default, a help text, and a line in the README."""
    assert len(QUESTIONS) <= 12
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, question in QUESTIONS.items():
        assert question["help"].endswith(".")
        assert "default" in question
        assert f"`{name}`" in readme


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Service", "my-service"),
        ("Übung 2!", "bung-2"),
        ("2 Fast", "fast"),
        ("!!!", "my-service"),
        ("class", "class"),
    ],
)
def test_slug_follows_from_the_name(render: Render, name: str, slug: str) -> None:
    """The slug that is proposed is always a valid one."""
    answers = (render(project_name=name) / ".copier-answers.yml").read_text(encoding="utf-8")
    assert f"project_slug: {slug}\n" in answers


@pytest.mark.parametrize(
    ("answer", "help_text"),
    [
        ("project_name=", "Give a name of one line"),
        ("project_name=a\nb", "Give a name of one line"),
        ("project_name=" + "x" * 201, "at most 200 characters"),
        ("project_slug=My Service", "for example my-service"),
        ("project_slug=9lives", "a letter first"),
        ("project_slug=a\n", "for example my-service"),
        ("project_slug=redis", "redis-service"),
        ("project_slug=sentry-sdk", "sentry-sdk-service"),
        ("project_description=a\tb", "without control characters"),
        ("python_version=3.9", "3.9"),
        ("example=shop", "shop"),
        ("error_format=xml", "xml"),
        ("observability=[nagios]", "nagios"),
        ("auth=password", "password"),
        ("ci=jenkins", "jenkins"),
    ],
)
def test_wrong_answer_is_refused_with_a_line_that_helps(
    snapshot: Path, tmp_path: Path, answer: str, help_text: str
) -> None:
    """A wrong answer ends the render, says how to fix it, and leaves nothing behind."""
    done = copy(tmp_path / "service", snapshot, "-d", answer)
    assert done.returncode != 0
    assert help_text in done.stderr.splitlines()[-1]
    assert not (tmp_path / "service" / "src").exists()


def test_render_needs_no_trust_and_runs_nothing(snapshot: Path, tmp_path: Path) -> None:
    """The template has no tasks, migrations or extensions, so that nobody is asked for `--trust`."""
    done = copy(tmp_path / "service", snapshot)
    assert (done.returncode, (tmp_path / "service" / "src" / "main.py").exists()) == (0, True)
    assert not re.search(
        r"^_(tasks|migrations|jinja_extensions)",
        (ROOT / "copier.yml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert f"cd {tmp_path / 'service'}" in done.stderr
