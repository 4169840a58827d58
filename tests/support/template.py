"""The template, its questions, and the sets of answers that the tests render."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

Answers = dict[str, Any]
Render = Callable[..., Path]
Pair = tuple[tuple[str, str], ...]

ROOT = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns(
    "__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", ".hypothesis", "uv.lock"
)
QUESTIONS: Answers = {
    name: question
    for name, question in yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8")).items()
    if not name.startswith("_")
}


def render_into(folder: Path, snapshot: Path, answers: Answers) -> None:
    """Render a copy of the template that is outside of git."""
    with pytest.MonkeyPatch.context() as environment:
        # Where Copier finds git, it starts it for each file.
        environment.setenv("PATH", os.devnull)
        copier.run_copy(str(snapshot), folder, data=answers, defaults=True, quiet=True)


def values(name: str) -> list[Any]:
    """Return the answers to a question; if several can be chosen, every set of them."""
    choices = QUESTIONS[name]["choices"]
    offered = list(choices.values() if isinstance(choices, dict) else choices)
    if not QUESTIONS[name].get("multiselect"):
        return offered
    sets: list[Any] = []
    for size in range(len(offered) + 1):
        sets.extend(map(list, itertools.combinations(offered, size)))
    return sets


OBSERVERS = values("observability")[-1]
ANCHORS: dict[str, Answers] = {
    "default": {},
    "orders": {
        "example": "orders",
        "observability": OBSERVERS,
        "auth": "jwt",
        "deploy": ["kubernetes"],
    },
    "none-postgres": {
        "example": "none",
        "stores": ["postgres"],
        "error_format": "message",
        "auth": "api_key",
        "ci": "gitlab",
        "observability": ["sentry"],
        "project_name": 'It\'s "quoted" \\ 🚀',
    },
    "none-nothing": {"example": "none", "stores": [], "ci": "none", "observability": []},
}


# What takes minutes runs once a week: `nox -s kinds` sets this.
EVERYTHING = bool(os.environ.get("EVERYTHING"))


def all_answers() -> Iterator[Answers]:
    """Yield every valid set of answers to the questions that offer choices."""
    names = [name for name, question in QUESTIONS.items() if "choices" in question]
    for combination in itertools.product(*map(values, names)):
        answers = dict(zip(names, combination, strict=True))
        if answers["example"] == "none" or answers["stores"] == QUESTIONS["stores"]["default"]:
            yield answers


def pairs(answers: Answers) -> set[Pair]:
    """Return all pairs of answers in a set of them."""
    named = sorted((name, str(answer)) for name, answer in answers.items())
    return set(itertools.combinations(named, 2))


def covering() -> list[Answers]:
    """Return a few sets of answers in which every possible pair of answers occurs."""
    candidates = list(all_answers())
    missing = set().union(*map(pairs, candidates))
    chosen = []
    while missing:
        best = max(candidates, key=lambda answers: len(pairs(answers) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def describe(answers: Answers) -> str:
    """Return a readable test id for a set of answers."""
    words = []
    for answer in answers.values():
        several = isinstance(answer, list)
        words.append("+".join(answer) or "nothing" if several else str(answer))
    return "-".join(words)
