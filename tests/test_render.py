"""Every render is a service that reads as if it had been written by hand."""

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.template import (
    OBSERVERS,
    Answers,
    Render,
    all_answers,
    covering,
    describe,
    pairs,
    values,
)

MATRIX = covering()
WORDS = {  # of what was not chosen nothing may be left, not even a word
    "postgres": r"postgres|asyncpg|alembic|sqlalchemy|psql|migrat|DATABASE_",
    "redis": r"redis",
    "decisions": r"decision|credit|scor(e|ing)\b|application for|applicant",
    "orders": r"\border_|\borders\b|receipt|emission|emitt|tax.?office|dead.letter|\bthe worker\b|circuit",
    "problem": r"problem\+json|9457|src/airtight/problem",
    "message": r"src/airtight/message",
    "prometheus": r"prometheus|promtool|grafana|alert|/metrics|METRICS_|observability.metrics|WrongToken",
    "opentelemetry": r"opentelemetry|OTEL_|otlp|trace_id|trace\.id|\bspans?\b|span_id|observability.traces",
    "sentry": r"sentry",
}
TRACES = r"copier:|\{%|%\}|\{\{|jinja|airtight(?![/._])|cookiecutter|\bTODO\b|\bFIXME\b"


def texts(folder: Path) -> dict[str, str]:
    """Return the content of every file by its path, without the braces of GitHub, Prometheus and Loki."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        file.relative_to(folder).as_posix(): re.sub(
            r"\$\{\{.*?\}\}|\{\{( \$|\.|if |end).*?\}\}", "", file.read_text(encoding="utf-8")
        )
        for file in files
    }


def ruff(folder: Path, *arguments: str) -> str:
    """Return what ruff has to say about a folder."""
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_matrix_covers_every_pair_of_answers() -> None:
    """Whatever two answers can be given together are rendered together at least once."""
    possible = set().union(*map(pairs, all_answers()))
    assert set().union(*map(pairs, MATRIX)) == possible
    assert len(MATRIX) < len(list(all_answers())) / 3


@pytest.mark.parametrize("answers", MATRIX, ids=describe)
def test_render_is_complete_clean_and_silent_about_the_rest(
    render: Render, answers: Answers
) -> None:
    """A render parses, is formatted and lint-clean, and holds no trace of the template or of what was not chosen."""
    folder = render(**answers)
    files = texts(folder)
    for path, text in files.items():
        if path.endswith(".py"):
            ast.parse(text)
        if path.endswith(".toml"):
            tomllib.loads(text)
        if path.endswith(".json"):
            json.loads(text)
        if path.endswith((".yml", ".yaml")):
            yaml.safe_load(text)
        allowed = path in (".copier-answers.yml", "README.md")  # how to update
        assert allowed or not re.search(TRACES, text, re.IGNORECASE), path
        assert "\r" not in text, path
        assert text.endswith("\n") or not text, path
        assert not text.endswith("\n\n"), path
    assert re.fullmatch(r"\d+ files already formatted\n", ruff(folder, "format", "--check"))
    assert ruff(folder, "check") == "All checks passed!\n"

    chosen = {
        *answers["stores"],
        *answers["observability"],
        answers["example"],
        answers["error_format"],
    }
    for name, words in WORDS.items():
        for path, text in files.items():
            if name not in chosen and path != ".copier-answers.yml":
                found = re.search(words, f"{path}\n{text}", re.IGNORECASE)
                assert not found, f"{path} speaks of {name}: {found and found[0]}"
    assert (".github/workflows/ci.yml" in files) is (answers["ci"] == "github")
    assert (".gitlab-ci.yml" in files) is (answers["ci"] == "gitlab")
    assert not [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "answers",
    [{}, {"example": "orders"}, {"example": "none", "stores": []}],
    ids=["default", "orders", "skeleton"],
)
def test_make_help_names_every_target(render: Render, answers: Answers) -> None:
    """`make help` shows all that can be made, and the README says what to run without make."""
    folder = render(**answers)
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    shown = subprocess.run(
        ["make", "help"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^make ([\w-]+)", shown, re.MULTILINE)) == targets
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert [
        t
        for t in targets - {"help"}
        if f"`make {t}`" not in readme or f"`python -m dev {t}`" not in readme
    ] == []
    commands = re.findall(r"python -m dev ([\w-]+)", readme)
    assert set(commands) == targets - {"help"}


@pytest.mark.parametrize("example", ["decisions", "orders"])
def test_readme_names_every_error_and_setting(render: Render, example: str) -> None:
    """The table of errors and the example of settings are complete."""
    folder = render(example=example)
    tree = ast.parse((folder / "src/utils/errors.py").read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in classes - {"APIError"} if f"`{name}`" not in readme] == []
    alerts = re.findall(
        r"- alert: (\w+)", (folder / "deploy/observability/alerts.yml").read_text(encoding="utf-8")
    )
    assert [name for name in alerts if f"| `{name}` |" not in readme] == []
    assert len(alerts) > 3
    config = ast.parse((folder / "src/config.py").read_text(encoding="utf-8"))
    fields = [
        node.target.id.upper()
        for node in ast.walk(config)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    example = (folder / ".env.example").read_text(encoding="utf-8")
    assert [
        name for name in fields if not re.search(rf"^(# )?{name}=", example, re.MULTILINE)
    ] == []


LINE = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf", "Cn", "Co", "Zs"), include_characters=" "
    ),
    min_size=1,
    max_size=200,
)
HOSTILE = [
    "'",
    '"',
    "\\",
    "'''",
    '"""',
    "\\'\\\"",
    "${X}",
    "{{ x }}",
    "{% raw %}",
    "{# x #}",
    "# copier: if false",
    "class",
    "src",
    "🦀 crate 🚀",
    "--flag",
    "@mention",
    "* bold | pipe",
    "a: b",
    "[x]",
    "%(x)s",
    "\N{RIGHT SINGLE QUOTATION MARK}" * 200,
    "x" * 200,
    "null",
    "0",
]


@pytest.mark.parametrize("answer", HOSTILE)
def test_hostile_answers_are_kept_as_they_are(render: Render, answer: str) -> None:
    """Whatever a name or a description holds, it is shown, breaks nothing and runs nothing."""
    if not answer.strip():
        return
    folder = render(project_name=answer, project_description=answer)
    check_hostile(folder, answer)
    assert re.fullmatch(r"\d+ files already formatted\n", ruff(folder, "format", "--check"))


@given(answer=LINE.filter(lambda text: text.strip() and text.isprintable()))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_line_is_kept_as_it_is(
    render: Render, tmp_path_factory: pytest.TempPathFactory, answer: str
) -> None:
    """Any printable line will do as a name and as a description."""
    folder = render(
        tmp_path_factory.mktemp("hostile") / "service",
        project_name=answer,
        project_description=answer,
    )
    check_hostile(folder, answer)


def check_hostile(folder: Path, answer: str) -> None:
    """The answer stands where it belongs, and all files parse."""
    data = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert (data["tool"]["service"]["title"], data["project"]["description"]) == (answer, answer)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", data["project"]["name"])
    assert (
        (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {answer}\n\n{answer}\n")
    )
    saved = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert (saved["project_name"], saved["project_description"]) == (answer, answer)
    for path in (".github/workflows/ci.yml", ".pre-commit-config.yaml"):
        yaml.safe_load((folder / path).read_text(encoding="utf-8"))


def test_size_of_the_service(render: Render, tmp_path: Path) -> None:
    """A person can read what is rendered."""
    sizes = {}
    for example, observers in itertools.product(
        values("example"), (values("observability")[0], OBSERVERS)
    ):
        folder = render(
            tmp_path / f"{example}-{len(observers)}", example=example, observability=observers
        )
        lines = [
            len(file.read_text(encoding="utf-8").splitlines())
            for file in folder.glob("src/**/*.py")
        ]
        sizes[example, len(observers)] = sum(lines)
    assert sizes["none", 0] < 1_000
    assert sizes["decisions", 0] < 1_200
    assert sizes["orders", 0] < 1_520
    assert max(sizes[example, 3] - sizes[example, 0] for example in values("example")) < 455
