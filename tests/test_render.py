"""Every render is a service that reads as if it had been written by hand."""

import ast
import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.files import empty_folders, read
from tests.support.template import (
    ANCHORS,
    OBSERVERS,
    ROOT,
    Answers,
    Render,
    all_answers,
    covering,
    describe,
    pairs,
    values,
)

MATRIX = covering()
# Words that a render holds only if their answer was chosen.
WORDS = {
    "postgres": r"postgres|asyncpg|alembic|sqlalchemy|psql|migrat|DATABASE_",
    "redis": r"redis",
    "decisions": r"decision|credit(?! ?card)|scor(e|ing)\b|application for|applicant",
    "orders": (
        r"\border_|\borders\b|receipt|emission|emitt|tax.?office"
        r"|dead.letter|\bthe worker\b|circuit"
    ),
    "problem": r"problem\+json|9457|src/airtight/problem",
    "message": r"src/airtight/message\b",
    "prometheus": (
        r"prometheus|promtool|grafana|alert|/metrics|METRICS_|observability.metrics|WrongToken"
    ),
    "opentelemetry": (
        r"opentelemetry|OTEL_|otlp|trace_id|trace\.id|(?<!\.)\bspans?\b|span_id|observability.traces"
    ),
    "sentry": r"sentry",
    "auth": r"NotAuthenticatedError|MissingScope|get_caller|OPEN_ROUTERS|Principal|src.services.callers",
    "api_key": r"\bapi_keys|API_KEYS|(?-i:ApiKey)|X-API-Key|api-key",
    "jwt": r"JWT_|pyjwt|jwks|\bissuer|audience|access_token|KeysUnavailable|make token",
    "kubernetes": r"kubern|kubectl|kustom|k8s|/started|has_passed",
}
# What shows that a file came from a template; `airtight` is also the name of a package in src/.
TRACES = (
    r"copier:|\{%|%\}|\{\{|jinja|(?<![\w./\"])airtight(?![\w./])"
    r"|cookiecutter|\bTODO\b|\bFIXME\b"
)
# Braces that GitHub, Prometheus and Loki use as well.
BRACES = r"\$\{\{.*?\}\}|\{\{( \$|\.|if |end).*?\}\}"
MAY_SPEAK_OF_TEMPLATE = (
    ".copier-answers.yml",
    "README.md",
)
# Rows of the table of errors that are about no class of the service.
FOREIGN = (
    "`RequestValidationError`",
    "`HTTPException`",
    "anything else",
)
FORMATTED = r"\d+ files already formatted\n"


def texts(folder: Path) -> dict[str, str]:
    """Return the text of every file by its path, without the braces of other programs."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found[file.relative_to(folder).as_posix()] = re.sub(BRACES, "", read(file))
    return found


def ruff(folder: Path, *arguments: str) -> str:
    """Run ruff in a folder and return what it prints."""
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def parse(path: str, text: str) -> None:
    """Parse a file if there is a parser for its kind."""
    match Path(path).suffix:
        case ".py":
            ast.parse(text)
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".yml" | ".yaml":
            list(yaml.safe_load_all(text))


def test_matrix_covers_every_pair_of_answers() -> None:
    """Any two answers that can be given together are rendered together at least once."""
    possible = set().union(*map(pairs, all_answers()))
    assert set().union(*map(pairs, MATRIX)) == possible
    assert len(MATRIX) < len(list(all_answers())) / 3


@pytest.mark.parametrize("answers", MATRIX, ids=describe)
def test_render_is_complete_and_clean(render: Render, answers: Answers) -> None:
    """A render parses, is formatted and lint-clean, and holds no word of what was not chosen."""
    folder = render(**answers)
    files = texts(folder)
    for path, text in files.items():
        parse(path, text)
        if path not in MAY_SPEAK_OF_TEMPLATE:
            assert not re.search(TRACES, text, re.IGNORECASE), path
        assert "\r" not in text, path
        assert text.endswith("\n") or not text, path
        assert not text.endswith("\n\n"), path
    assert re.fullmatch(FORMATTED, ruff(folder, "format", "--check"))
    assert ruff(folder, "check") == "All checks passed!\n"
    check_words(files, answers)
    assert (".github/workflows/ci.yml" in files) is (answers["ci"] == "github")
    assert (".gitlab-ci.yml" in files) is (answers["ci"] == "gitlab")
    assert empty_folders(folder) == []


def check_words(files: dict[str, str], answers: Answers) -> None:
    """No file holds a word of an answer that was not chosen."""
    chosen = {answers["example"], answers["error_format"]}
    chosen.update(answers["stores"], answers["observability"], answers["deploy"])
    chosen.update([answers["auth"], "auth"] if answers["auth"] != "none" else [])
    for name in WORDS.keys() - chosen:
        for path, text in files.items():
            found = re.search(WORDS[name], f"{path}\n{text}", re.IGNORECASE)
            if path != ".copier-answers.yml":
                assert not found, f"{path} speaks of {name}: {found and found[0]}"


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_rendering_changes_no_python_code(render: Render) -> None:
    """Code has conditions in comments alone: two braces of an f-string would be an expression."""
    rendered = render(example="decisions", observability=OBSERVERS)
    template = ROOT / "template"
    for file in sorted(rendered.rglob("*.py")):
        lines = read(template / file.relative_to(rendered)).splitlines()
        assert [line for line in read(file).splitlines() if line not in lines] == []


@pytest.mark.parametrize(
    "answers",
    [{}, {"example": "orders"}, {"example": "none", "stores": []}],
    ids=["default", "orders", "skeleton"],
)
def test_make_help_names_every_target(render: Render, answers: Answers) -> None:
    """`make help` lists all targets, and the README shows each, with and without make."""
    folder = render(**answers)
    makefile = read(folder / "Makefile")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    command = ["make", "help"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^make ([\w-]+)", done.stdout, re.MULTILINE)) == targets
    readme = read(folder / "README.md")
    for target in targets - {"help"}:
        assert f"`make {target}`" in readme
        assert f"`python -m dev {target}`" in readme
    commands = re.findall(r"python -m dev ([\w-]+)", readme)
    run_a_program = {"run"}  # takes a program, so it is no target
    assert set(commands) - run_a_program == targets - {"help"}


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"example": "orders", "observability": OBSERVERS},
        {"example": "none", "stores": ["redis"], "error_format": "message"},
    ],
    ids=["decisions", "orders", "message"],
)
def test_readme_names_every_error(render: Render, answers: Answers) -> None:
    """The table of errors has a row for each own class, with its type, status and level."""
    folder = render(**answers)
    with_type = answers.get("error_format") != "message"
    expected = {}
    for error_class in own_errors(folder):
        error = error_class.__new__(error_class)
        public = error.status_code < 500
        problem_type = error.problem_type() if public else "about:blank"
        facts = [str(error.status_code), logging.getLevelName(error.level)]
        expected[f"`{error_class.__name__}`"] = [f"`{problem_type}`"] * with_type + facts
    rows = table(folder / "README.md", "error")
    own = [row for row in rows if row[0] not in FOREIGN]
    assert {name: facts for name, *facts, _ in own} == expected
    assert len(own) == len(expected)


RESOURCE_ERRORS = """
import json
from dev.resource.errors import INVALID_CURSOR, errors_of
from dev.resource.fields import parse_fields
from dev.resource.names import parse_names

errors = errors_of(parse_names("customer", ""), parse_fields("email:str:unique"), {"shop": "shop"})
print(json.dumps({error.name: error.status for error in [*errors, INVALID_CURSOR]}))
"""


@pytest.mark.parametrize("error_format", values("error_format"))
def test_readme_names_errors_of_resources(render: Render, error_format: str) -> None:
    """What `make resource` writes has these errors; the one of a missing row says all by its name."""
    folder = render(error_format=error_format)
    command = [sys.executable, "-c", RESOURCE_ERRORS]
    statuses = json.loads(subprocess.check_output(command, cwd=folder, text=True))
    del statuses["CustomerNotFoundError"]
    expected = {}
    for name, status in statuses.items():
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removesuffix("Error")).lower()
        with_type = error_format == "problem"
        expected[f"`{name}`"] = [f"`/errors/{words}`"] * with_type + [str(status)]
    rows = table(folder / "README.md", "error of a resource")
    assert {name: facts for name, *facts, _ in rows} == expected


def table(markdown: Path, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading, as lists of cells."""
    pattern = rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)"
    found = re.search(pattern, read(markdown), re.MULTILINE)
    assert found
    return [row.strip("| ").split(" | ") for row in found[1].splitlines()]


@pytest.mark.parametrize("answers", ANCHORS.values(), ids=ANCHORS)
def test_errors_open_with_their_tree(render: Render, answers: Answers) -> None:
    """The docstring of `errors.py` has each class below its base, with its status and level."""
    folder = render(**answers)
    text = read(folder / "src/utils/errors.py").split('"""')[1]
    rows = re.findall(r"(?m)^    ( *)(\w+) +(\d+)  ([A-Z]+)$", text)
    errors = {error.__name__: error for error in own_errors(folder)}
    assert sorted(name for _, name, _, _ in rows) == sorted(errors)
    path: list[str] = []
    for indent, name, status, level in rows:
        depth = len(indent) // 2
        path[depth:] = [name]
        assert errors[name].status_code == int(status)
        assert logging.getLevelName(level_of(errors[name])) == level
        if depth:
            assert errors[name].__bases__[0].__name__ == path[depth - 1]


def level_of(error: Any) -> int:
    """Return the level of the records of a class of errors."""
    level = error.level
    return level if isinstance(level, int) else level.fget(error)


def own_errors(folder: Path) -> list[Any]:
    """Return the error classes that a rendered service defines."""
    spec = importlib.util.spec_from_file_location("errors", folder / "src/utils/errors.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in found if issubclass(value, Exception)]


@pytest.mark.parametrize("answers", ANCHORS.values(), ids=ANCHORS)
def test_readme_answers_with_what_exists(render: Render, answers: Answers) -> None:
    """Each file, name, setting and command in the section "How do I ..." is in the service."""
    folder = render(**answers)
    section = read(folder / "README.md").partition("## How do I ...")[2].partition("\n## ")[0]
    text = re.sub(r"(?s)```.*?```", "", section)
    code = re.findall(r"`([^`]+)`", text.replace("\n", " "))
    sources = "\n".join(
        read(file) for file in folder.rglob("*") if file.suffix in (".py", ".example")
    )
    targets = read(folder / "Makefile")
    missing = [
        snippet
        for snippet in code
        for name in names_in(snippet)
        if not (folder / name).exists() and name not in sources and name not in targets
    ]
    assert missing == []
    assert section.count("\n### ") >= 11


@pytest.mark.parametrize("answers", ANCHORS.values(), ids=ANCHORS)
def test_readme_can_be_linked_to(render: Render, answers: Answers) -> None:
    """Each heading has an anchor of its own, and each link within the page leads to one."""
    readme = re.sub(r"(?s)```.*?```", "", read(render(**answers) / "README.md"))
    headings = re.findall(r"(?m)^#+ (.+)$", readme)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]+)\)", readme)) <= set(anchors)


def names_in(snippet: str) -> list[str]:
    """Return the paths in a snippet of code, or its own names: not those of other projects."""
    paths = re.findall(r"(?:src|tests|dev|migrations)/[\w/.]*", snippet)
    if paths:
        return [path.rstrip("/") for path in paths]
    commands = re.findall(r"make (\w[\w-]*)", snippet)
    names = re.findall(r"\b[A-Z]+_[A-Z_]+\b|\b_?[a-z]+(?:_[a-z]+)+\b", snippet)
    foreign = ("contextvars", "loop.", "prometheus_client", "asyncio", "asyncpg", "pip")
    if any(word in snippet for word in foreign):
        return commands
    return [*commands, *names]


# These differ in each render, or are written by tools.
NOT_OF_EXAMPLE = {
    "README.md",
    ".copier-answers.yml",
    "migrations/versions/.gitkeep",
}


def test_readme_lists_what_belongs_to_the_example(render: Render, tmp_path: Path) -> None:
    """The files that go with the example, and those that lose lines, are those without it."""
    folder = render()
    skeleton = render(tmp_path / "skeleton", example="none")
    answer = read(folder / "README.md").partition("### Take the example out\n\n")[2]
    named = set(re.findall(r"`([^` ]+)`", answer.partition("\n\n")[0]))
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    differing = {
        file
        for file in files - NOT_OF_EXAMPLE
        if not (skeleton / file).exists() or read(folder / file) != read(skeleton / file)
    }
    assert {re.sub("^src/models/.*", "src/models", file) for file in differing} == named


@pytest.mark.parametrize("answers", ANCHORS.values(), ids=ANCHORS)
def test_page_for_agents_names_what_exists(render: Render, answers: Answers) -> None:
    """Each path and command in AGENTS.md exists, and the README does not say the same."""
    folder = render(**answers)
    check_page(folder)
    targets = re.findall(r"(?m)^([a-z][\w-]*):", read(folder / "Makefile"))
    named = re.findall(r"`make ([a-z-]+(?: [a-z-]+)*)", read(folder / "AGENTS.md"))
    assert {target for names in named for target in names.split()} <= {*targets, "name", "args"}


def test_own_page_for_agents_names_what_exists() -> None:
    """The same holds for this repository."""
    check_page(ROOT)
    sessions = re.findall(r"(?m)^@nox.session.*\ndef (\w+)", read(ROOT / "noxfile.py"))
    named = re.findall(r"`nox -s (\w+)`", read(ROOT / "AGENTS.md"))
    assert named
    assert set(named) <= set(sessions)


def check_page(folder: Path) -> None:
    """Check the paths in a page for agents, and that it repeats nothing."""
    page = read(folder / "AGENTS.md")
    code = re.findall(r"`([^`]+)`", page)
    paths = [path for text in code for path in re.findall(r"[\w.-]+/[\w./-]*|\w+\.\w{2,4}\b", text)]
    assert [path for path in paths if not (folder / path).exists() and path != ".dev/"] == []
    sentences = {s for s in re.split(r"(?<=[.:]) |\n", page) if len(s.split()) > 4}
    readme = read(folder / "README.md")
    assert [sentence for sentence in sentences if sentence in readme] == []


@pytest.mark.parametrize("example", ["decisions", "orders"])
def test_readme_names_every_alert(render: Render, example: str) -> None:
    """The table of alerts is complete."""
    folder = render(example=example)
    readme = read(folder / "README.md")
    alerts = re.findall(r"- alert: (\w+)", read(folder / "deploy/observability/alerts.yml"))
    assert [name for name in alerts if f"| `{name}` |" not in readme] == []
    assert len(alerts) > 3


@pytest.mark.parametrize("example", ["decisions", "orders"])
def test_example_of_settings_is_complete(render: Render, example: str) -> None:
    """`.env.example` names every setting."""
    folder = render(example=example)
    fields = [
        node.target.id.upper()
        for node in ast.walk(ast.parse(read(folder / "src/config.py")))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    lines = read(folder / ".env.example")
    assert [name for name in fields if not re.search(rf"(?m)^(# )?{name}=", lines)] == []
    assert len(fields) > 10


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
    """A name or a description is shown as it is, breaks nothing and runs nothing."""
    if not answer.strip():
        return
    folder = render(project_name=answer, project_description=answer)
    check_hostile(folder, answer)
    assert re.fullmatch(FORMATTED, ruff(folder, "format", "--check"))


@pytest.mark.parametrize("answers", ANCHORS.values(), ids=ANCHORS)
def test_text_after_a_table_is_no_row_of_it(render: Render, answers: Answers) -> None:
    """A blank line ends each table; without it the text below would be in the table."""
    for file in render(**answers).rglob("*.md"):
        assert re.findall(r"(?m)^\|.*\|\n[^|\n].*", read(file)) == []


@given(answer=LINE.filter(lambda text: text.strip() and text.isprintable()))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_line_is_kept_as_it_is(
    render: Render, tmp_path_factory: pytest.TempPathFactory, answer: str
) -> None:
    """Any printable line can be a name and a description."""
    folder = render(
        tmp_path_factory.mktemp("hostile") / "service",
        project_name=answer,
        project_description=answer,
    )
    check_hostile(folder, answer)


def check_hostile(folder: Path, answer: str) -> None:
    """The answer is where it belongs, and all files parse."""
    data = tomllib.loads(read(folder / "pyproject.toml"))
    assert data["tool"]["service"]["title"] == answer
    assert data["project"]["description"] == answer
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", data["project"]["name"])
    assert read(folder / "README.md").startswith(f"# {answer}\n\n{answer}\n")
    saved = yaml.safe_load(read(folder / ".copier-answers.yml"))
    assert saved["project_name"] == answer
    assert saved["project_description"] == answer
    for path in (".github/workflows/ci.yml", ".pre-commit-config.yaml"):
        yaml.safe_load(read(folder / path))
