"""Code that people receive, and the code of this repository, is easy to read."""

from pathlib import Path

import pytest

from tests.support.readability import banned_names, dense, large_functions, read
from tests.support.template import OBSERVERS, ROOT, Answers, Render

RENDERS: dict[str, Answers] = {
    "default": {},
    "orders": {"example": "orders", "observability": OBSERVERS},
    "none": {"example": "none", "stores": [], "observability": []},
}


@pytest.mark.parametrize("answers", RENDERS.values(), ids=RENDERS)
@pytest.mark.parametrize("folder", ["src", "dev"])
def test_rendered_code_is_readable(render: Render, answers: Answers, folder: str) -> None:
    """Lines are short, each is one step, functions are small, and names are those of the field."""
    sources = read(render(**answers), folder)
    assert sources
    assert dense(sources) == []
    assert large_functions(sources) == []
    assert banned_names(sources) == []


@pytest.mark.parametrize("answers", RENDERS.values(), ids=RENDERS)
def test_rendered_tests_are_readable(render: Render, answers: Answers) -> None:
    """The tests that come with a service stay within the same limits."""
    sources = read(render(**answers), "tests")
    assert dense(sources) == []
    assert large_functions(sources) == []


@pytest.mark.parametrize("part", ["bench", "hooks", "noxfile.py", "scripts", "tests"])
def test_own_code_is_readable(part: str) -> None:
    """What renders, tests and measures the template stays within the same limits."""
    sources = read(ROOT, part)
    assert dense(sources) == []
    assert large_functions(sources) == []


LONG = (
    '''def long(a):
    """Do many things."""
'''
    + "    a += 1\n" * 40
)
BRANCHED = "def branched(a):\n" + "    if a: pass\n" * 13
RESULT = "def result(a):\n    return a, a, a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LONG, "a.py:1 long has 42 lines, more than 40"),
        (BRANCHED, "a.py:1 branched has 13 branches, more than 12"),
        (RESULT, "a.py:1 result returns 3 values; return an object with names"),
    ],
    ids=["lines", "branches", "values"],
)
def test_large_function_is_found(tmp_path: Path, text: str, message: str) -> None:
    """A function that is too long, branches too much or returns too much is named with its place."""
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert large_functions(read(tmp_path, "a.py")) == [message]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("a, b = 1, 2\n", ["1000.0 tuple assignments per 1,000 lines, more than 3"]),
        ("a, b = c\n", []),
        ("a = b if c else d\n", ["1000.0 conditional expressions per 1,000 lines, more than 15"]),
        ("print(a := 1)\n", ["1000.0 assignment expressions per 1,000 lines, more than 4"]),
        (f"{'a' * 40}\n", ["40.0 characters a line, more than 39"]),
        (f'"""{"x" * 90}"""\n\na = 1  # {"x" * 80}\n    # {"x" * 90}\n', []),
        (
            f"a = 1\n# {'x' * 99}\n",
            ["1000.0 lines over 100 characters per 1,000 lines, more than 15"],
        ),
    ],
    ids=range(7),
)
def test_dense_line_is_found(tmp_path: Path, text: str, messages: list[str]) -> None:
    """Code counts towards density; docstrings, comments and layout do not."""
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert dense(read(tmp_path, "a.py")) == messages


@pytest.mark.parametrize(
    "text",
    [
        "def tell(): ...",
        "async def _tell(): ...",
        "class Guard: ...",
        "def f(given): ...",
        "told = 1",
        "print(told)",
        "self.told = 1",
        "import a as sample",
        "from a import mask",
        "try: ...\nexcept E as told: ...",
        "match a:\n    case told: ...",
    ],
)
def test_banned_name_is_found(tmp_path: Path, text: str) -> None:
    """A name that means something else in the field is found however it is defined."""
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert len(banned_names(read(tmp_path, "a.py"))) == 1


@pytest.mark.parametrize(
    "text", ["engine.begin()", "# once told", '"""Tell once."""', "telling = 1"]
)
def test_word_is_no_name(tmp_path: Path, text: str) -> None:
    """What a library calls its methods, prose, and words within words are fine."""
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert banned_names(read(tmp_path, "a.py")) == []
