"""Projects that were rendered from a version of the template, and what an update makes of them."""

import json
import tempfile
from pathlib import Path
from typing import Any

import copier as copier_api
import pytest
import yaml

from tests.support.files import Tree, tree, write
from tests.support.repositories import BEFORE, Done, commit, copier, git
from tests.support.template import Answers

OWN = ("CHANGELOG.md", "uv.lock")  # the user's from the first render on
ENV = "DATABASE_URL=postgresql://me:secret@db/app\n"
RENDERED: dict[str, Tree] = {}


def fresh(template: Path, version: str, answers: Answers) -> Tree:
    """Return the files of a new render of a version."""
    name = json.dumps([str(template), version, answers])
    if name not in RENDERED:
        with tempfile.TemporaryDirectory() as folder:
            copier_api.run_copy(
                str(template),
                folder,
                data=answers,
                defaults=True,
                quiet=True,
                vcs_ref=version,
            )
            RENDERED[name] = tree(Path(folder))
    return dict(RENDERED[name])


def write_tree(files: Tree, folder: Path) -> Path:
    """Write files into a new folder."""
    for path, file in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(file.content)
    return folder


def questions_of(template: Path, version: str) -> dict[str, Any]:
    """Return what is in `copier.yml` of a version."""
    questions: dict[str, Any] = yaml.safe_load(git(template, "show", f"{version}:copier.yml"))
    return questions


def known_answers(template: Path, version: str, answers: Answers) -> Answers:
    """Return the answers to questions that a version asks."""
    questions = questions_of(template, version)
    return {name: answer for name, answer in answers.items() if name in questions}


def start(template: Path, folder: Path, answers: Answers, version: str = BEFORE) -> Path:
    """Render a project as its owner did, with settings that are not committed."""
    questions = questions_of(template, version)
    for name, answer in answers.items():
        if not is_offered(questions.get(name, {}), answer):
            pytest.skip(f"this release had no {name}={answer}")
    write_tree(fresh(template, version, answers), folder)
    write(folder / ".env", ENV)
    commit(folder, "Start")
    return folder


def is_offered(question: dict[str, Any], answer: Any) -> bool:
    """Return whether a question has an answer among its choices, or offers no choices."""
    if "choices" not in question:
        return True
    choices = question["choices"]
    offered = choices.values() if isinstance(choices, dict) else choices
    chosen = answer if isinstance(answer, list) else [answer]
    return set(chosen) <= set(offered)


def update(project: Path, *arguments: str) -> Done:
    """Update a project by the command that its README names."""
    return copier(project, "update", "--defaults", *arguments)


def collisions(project: Path) -> list[str]:
    """Return the files in which lines of the user's and of the update collide."""
    lines = git(project, "ls-files", "-u").splitlines()
    return sorted({line.split("\t")[1] for line in lines})


def update_cleanly(project: Path, *arguments: str) -> None:
    """Update a project; fail the test if that fails, or if anything collides."""
    done = update(project, *arguments)
    assert done.returncode == 0, done.stderr
    assert collisions(project) == [], done.stderr


def files_of(project: Path) -> Tree:
    """Return the files of a project but the user's own; of these `.env` has to be as it was."""
    files = tree(project)
    assert files.pop(".env").content.decode() == ENV
    return without(files, *OWN)


def without(files: Tree, *paths: str) -> Tree:
    """Return files without some."""
    return {path: file for path, file in files.items() if path not in paths}


def as_data(answers: Answers) -> list[str]:
    """Return answers as arguments for Copier."""
    arguments = []
    for name, answer in answers.items():
        text = json.dumps(answer) if isinstance(answer, list) else answer
        arguments.append(f"--data={name}={text}")
    return arguments
