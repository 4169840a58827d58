"""Renders, fast and without a trace of this repository's history."""

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS: dict[str, dict[str, Any]] = {
    name: question
    for name, question in yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8")).items()
    if not name.startswith("_")
}
NOT_OURS = shutil.ignore_patterns(
    "__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", "uv.lock"
)
Answers = dict[str, Any]
Render = Callable[..., Path]


def values(name: str) -> list[Any]:
    """Return the answers that a question offers; where several can be chosen, each set of them."""
    choices = QUESTIONS[name]["choices"]
    offered = list(choices.values() if isinstance(choices, dict) else choices)
    if QUESTIONS[name].get("multiselect"):
        return [
            list(chosen)
            for size in range(len(offered) + 1)
            for chosen in itertools.combinations(offered, size)
        ]
    return offered


OBSERVERS = values("observability")[-1]


def all_answers() -> Iterator[Answers]:
    """Yield every valid set of answers to the questions that offer choices."""
    names = [name for name, question in QUESTIONS.items() if "choices" in question]
    for combination in itertools.product(*map(values, names)):
        answers = dict(zip(names, combination, strict=True))
        if answers["example"] == "none" or answers["stores"] == QUESTIONS["stores"]["default"]:
            yield answers


def pairs(answers: Answers) -> set[tuple[tuple[str, str], ...]]:
    """Return all pairs of answers in a set of them."""
    return set(
        itertools.combinations(sorted((name, str(answer)) for name, answer in answers.items()), 2)
    )


def covering() -> list[Answers]:
    """Return few sets of answers that hold every pair of answers which can be given together."""
    candidates = list(all_answers())
    missing = set().union(*map(pairs, candidates))
    chosen = []
    while missing:
        best = max(candidates, key=lambda answers: len(pairs(answers) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def wait_until(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Return what a condition gives as soon as it holds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result


def name_of(answers: Answers) -> str:
    """Return a readable name for a set of answers."""
    return "-".join(
        "+".join(a) or "nothing" if isinstance(a, list) else str(a) for a in answers.values()
    )


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is now, outside of git."""
    folder = tmp_path_factory.mktemp("snapshot") / "airtight"
    shutil.copytree(ROOT / "template", folder / "template", ignore=NOT_OURS)
    shutil.copy(ROOT / "copier.yml", folder)
    return folder


@pytest.fixture
def render(snapshot: Path, tmp_path: Path) -> Render:
    """A function that renders with the given answers and returns the folder."""

    def run(folder: Path | None = None, **answers: Any) -> Path:
        target = folder or tmp_path / "service"
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(
                "PATH", os.devnull
            )  # Copier asks git about each file, where there is one
            copier.run_copy(str(snapshot), target, data=answers, defaults=True, quiet=True)
        return target

    return run
