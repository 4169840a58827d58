"""`copier update` brings what is new, keeps what is the user's, and shows where both collide."""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import copier as copier_api
import pytest
import yaml

from tests.support.owner import work_for_a_week
from tests.support.repositories import (
    ADDED,
    BEFORE,
    CHANGED,
    MOVED,
    NEXT,
    NOW,
    REMOVED,
    Done,
    change,
    commit,
    copier,
    forget_question,
    git,
    go_on,
    make_history,
    releases,
    run,
    take_template,
    tree,
)
from tests.support.services import make
from tests.support.template import ANCHORS, QUESTIONS, ROOT, Answers

RELEASES: dict[str, str | None] = {"imagined": None} | releases(ROOT)
OWN = ("CHANGELOG.md", "uv.lock")  # the user's from the first render on
ENV = "DATABASE_URL=postgresql://me:secret@db/app\n"
Tree = dict[str, tuple[bytes, bool]]
History = Callable[..., Path]
KINDS: dict[str, Answers] = ANCHORS | {
    "none-redis": {"example": "none", "stores": ["redis"]},
}
SKELETON: Answers = {"example": "none", "stores": []}  # the fastest to render
RENDERED: dict[str, Tree] = {}


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A function that gives a repository of the template, with a release and the template as it is now."""
    made: dict[str, Path] = {}

    def get(release: str = "imagined") -> Path:
        if release not in made:
            made[release] = make_history(
                tmp_path_factory.mktemp("history") / "airtight", RELEASES[release]
            )
        return made[release]

    return get


def fresh(template: Path, version: str, answers: Answers) -> Tree:
    """Return the files of a new render of a version."""
    name = json.dumps([str(template), version, answers])
    if name not in RENDERED:
        with tempfile.TemporaryDirectory() as folder:
            copier_api.run_copy(
                str(template), folder, data=answers, defaults=True, quiet=True, vcs_ref=version
            )
            RENDERED[name] = tree(Path(folder))
    return dict(RENDERED[name])


def write(files: Tree, folder: Path) -> Path:
    """Write files into a new folder."""
    for path, (content, _) in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def start(template: Path, folder: Path, answers: Answers, version: str = BEFORE) -> Path:
    """Render a project as its owner did, with settings that are not committed."""
    questions = yaml.safe_load(git(template, "show", f"{version}:copier.yml"))
    for name, answer in answers.items():
        choices = questions.get(name, {}).get("choices", answer)
        offered = choices.values() if isinstance(choices, dict) else choices
        if not (set(answer) <= set(offered) if isinstance(answer, list) else answer in offered):
            pytest.skip(f"this release had no {name}={answer}")
    write(fresh(template, version, answers), folder)
    (folder / ".env").write_text(ENV, encoding="utf-8")
    commit(folder, "Start")
    return folder


def update(project: Path, *arguments: str) -> Done:
    """Update a project by the command that its README names."""
    return copier(project, "update", "--defaults", *arguments)


def collisions(project: Path) -> list[str]:
    """Return the files in which lines of the user's and of the update collide."""
    return sorted({line.split("\t")[1] for line in git(project, "ls-files", "-u").splitlines()})


def files(project: Path, *but: str) -> Tree:
    """Return the files of a project without some, and without `.env`, which has to be as it was."""
    found = tree(project)
    assert found.pop(".env")[0].decode() == ENV
    return {path: content for path, content in found.items() if path not in but}


def without(found: Tree, *paths: str) -> Tree:
    """Return files without some."""
    return {path: content for path, content in found.items() if path not in paths}


def test_updated_project_passes_its_checks(history: History, tmp_path: Path) -> None:
    """A project that was worked on, and has a lock file, installs, tests and lints after an update."""
    project = start(history("imagined"), tmp_path / "service", {"example": "none"})
    (project / ".env").unlink()
    work_for_a_week(project)
    uv = (sys.executable, "-m", "uv")
    assert run(project, *uv, "lock", "--quiet").returncode == 0
    commit(project, "A week of work")
    assert (update(project).returncode, collisions(project)) == (0, [])
    assert "python-multipart" in (project / "uv.lock").read_text(encoding="utf-8")
    assert "Required test coverage of 95.0% reached" in make(project, "test")
    assert "Contracts: 3 kept, 0 broken" in make(project, "lint")
    assert "python-multipart" not in (project / "uv.lock").read_text(encoding="utf-8")
    assert 'name = "humanize"' in (project / "uv.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("answers", KINDS.values(), ids=KINDS)
def test_update_without_edits_gives_a_fresh_render(
    history: History, tmp_path: Path, release: str, answers: Answers
) -> None:
    """From every release, for all kinds of answers, the updated tree is the new one; only what is the user's stays."""
    template = history(release)
    project = start(template, tmp_path / "service", answers)
    changelog = (project / "CHANGELOG.md").read_bytes()
    done = update(project)
    assert (done.returncode, collisions(project)) == (0, []), done.stderr
    assert files(project, *OWN) == without(fresh(template, NOW, answers), *OWN)
    assert (project / "CHANGELOG.md").read_bytes() == changelog
    shutil.rmtree(project / ".git")
    assert not [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("answers", KINDS.values(), ids=KINDS)
def test_update_keeps_what_the_user_has_made(
    history: History, tmp_path: Path, release: str, answers: Answers
) -> None:
    """After a week of work, the updated tree is what the same work would have made of a fresh render."""
    template = history(release)
    project = start(template, tmp_path / "service", answers)
    work_for_a_week(project)
    change(project, "CHANGELOG.md", "\n- ", "\n- Quotas.\n- ")
    (project / "uv.lock").write_text("# mine\n", encoding="utf-8")
    commit(project, "A week of work")
    own = {path: content for path, content in tree(project).items() if path in OWN}
    done = update(project)
    assert (done.returncode, collisions(project)) == (0, []), done.stderr
    again = write(fresh(template, NOW, answers), tmp_path / "again")
    work_for_a_week(again)
    assert files(project, *OWN) == without(tree(again), *OWN)
    assert {path: content for path, content in tree(project).items() if path in OWN} == own


def test_collision_is_visible_and_loses_nothing(history: History, tmp_path: Path) -> None:
    """Where both have changed the same lines, the file holds both, git knows it, and the user is told to look."""
    project = start(history("imagined"), tmp_path / "service", SKELETON)
    mine = {"README.md": "`src/utils/errors.py`, says Ada", "pyproject.toml": '"orjson==3.12.1",'}
    change(
        project,
        "README.md",
        "is some lines in `src/utils/errors.py`",
        "is in `src/utils/errors.py`, says Ada",
    )
    change(project, "pyproject.toml", '"orjson>=3.12",', '"orjson==3.12.1",')
    (project / ADDED).write_text('"""Rules of our own."""\n', encoding="utf-8")
    commit(project, "Edit")
    done = update(project)
    assert done.returncode == 0, done.stderr  # Copier sees nothing wrong in it
    assert "git ls-files -u" in done.stderr
    assert f"Upgrade notes: CHANGELOG.md of {history('imagined')}" in done.stderr
    assert collisions(project) == sorted([*mine, ADDED])
    for path, text in mine.items():
        both = (project / path).read_text(encoding="utf-8")
        assert (
            both.index("<<<<<<< before updating")
            < both.index(text)
            < both.index(">>>>>>> after updating")
        )
        assert CHANGED[path][0][0] in both
    assert "Rules of our own" in (project / ADDED).read_text(encoding="utf-8")
    assert (
        run(project, "git", "commit", "--all", "--message", "In a hurry").returncode == 0
    )  # git lets one
    assert "<<<<<<<" in git(project, "grep", "<<<<<<<")


def test_file_that_a_release_removes_is_shown_as_removed(history: History, tmp_path: Path) -> None:
    """What the user wrote into a file that is no longer rendered is in git's diff, not lost."""
    project = start(history("imagined"), tmp_path / "service", SKELETON)
    (project / REMOVED).write_text("Read me.\nMine.\n", encoding="utf-8")
    (project / REMOVED).with_name("own.txt").write_text("Mine.\n", encoding="utf-8")
    commit(project, "Edit")
    assert (update(project).returncode, collisions(project)) == (0, [])
    assert f" D {REMOVED}" in git(project, "status", "--short").splitlines()
    assert "-Mine." in git(project, "diff", "--", REMOVED)
    assert (project / REMOVED).with_name("own.txt").exists()


def test_example_that_was_deleted_by_hand_stays_deleted(history: History, tmp_path: Path) -> None:
    """An update does not bring back files that the user has deleted, nor lines."""
    project = start(history("imagined"), tmp_path / "service", {})
    example = [
        path for path in project.rglob("*") if "decision" in path.name or path.name == "models"
    ]
    assert len(example) >= 6
    for path in example:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = (project / "src" / "main.py").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(
        line for line in lines if "decision" not in line.lower() and "Scorecard" not in line
    )
    (project / "src" / "main.py").write_text(kept, encoding="utf-8", newline="\n")
    commit(project, "Remove the example")
    assert (update(project).returncode, collisions(project)) == (0, [])
    assert [path for path in example if path.exists()] == []
    main = kept.replace("Make the application", "Build the application")
    assert (project / "src" / "main.py").read_text(encoding="utf-8") == main


SWITCHES: dict[
    str, tuple[str, Answers, Answers]
] = {  # the version to begin with, answers, other answers
    "no-example": (
        NOW,
        {"ci": "gitlab"},
        {"example": "none", "ci": "github", "python_version": "3.12"},
    ),
    "no-example-no-store": (BEFORE, {}, {"example": "none", "stores": []}),
    "example": (BEFORE, {"example": "none", "stores": ["redis"]}, {"example": "decisions"}),
    "store-added": (
        NOW,
        {"example": "none", "stores": ["postgres"]},
        {"stores": ["postgres", "redis"]},
    ),
    "store-dropped": (
        BEFORE,
        {"example": "none", "stores": ["postgres", "redis"]},
        {"stores": ["redis"]},
    ),
    "error-format": (
        NOW,
        {},
        {"error_format": "message", "project_name": "Two", "project_slug": "two"},
    ),
    "observability": (BEFORE, {}, {"observability": ["opentelemetry", "sentry"]}),
}


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_answer_can_be_changed(
    history: History, tmp_path: Path, switch: tuple[str, Answers, Answers]
) -> None:
    """With another answer the updated tree is a fresh render of it, be there a newer version or not."""
    version, answers, other = switch
    template = history("imagined")
    project = start(template, tmp_path / "service", answers, version)
    (project / "src" / "api" / "own.py").write_text('"""Mine."""\n', encoding="utf-8")
    commit(project, "Work")
    data = [
        f"--data={name}={json.dumps(value) if isinstance(value, list) else value}"
        for name, value in other.items()
    ]
    done = update(project, *data)
    assert (done.returncode, collisions(project)) == (0, []), done.stderr
    assert (project / "src" / "api" / "own.py").read_text(encoding="utf-8") == '"""Mine."""\n'
    merged = answers | other
    if merged.get("example") != "none":
        merged.pop("stores", None)
    assert files(project, "src/api/own.py", *OWN) == without(fresh(template, NOW, merged), *OWN)


@pytest.fixture
def longer(history: History, tmp_path: Path) -> Path:
    """A repository of the template with a third version."""
    template = tmp_path / "airtight"
    shutil.copytree(history("imagined"), template)
    go_on(template)
    commit(template, "Next", NEXT)
    return template


def test_update_after_update(longer: Path, tmp_path: Path) -> None:
    """Version after version arrives, a new question is answered by its default, and again nothing is left to do."""
    project = start(longer, tmp_path / "service", SKELETON)
    assert "New template version available" in copier(project, "check-update").stdout
    for version in (NOW, NEXT):
        done = update(project, f"--vcs-ref={version}")
        assert (done.returncode, collisions(project)) == (0, []), done.stderr
        assert files(project, *OWN) == without(fresh(longer, version, SKELETON), *OWN)
        commit(project, version)
    assert copier(project, "check-update", "--quiet").returncode == 0
    assert update(project).returncode == 0
    assert git(project, "status", "--short") == ""
    assert "owner: nobody\n" in (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert update(project, "--data=owner=Ada").returncode == 0
    assert "+Ask Ada." in git(project, "diff", "README.md")


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_that_is_new(tmp_path: Path, question: str) -> None:
    """A project that was never asked a question is updated, as if its default had been the answer."""
    answers = {name: answer for name, answer in SKELETON.items() if name != question}
    if question == "example":
        answers.pop("stores")  # the example that is the default uses both
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    copier_api.run_copy(str(template), tmp_path / "now", data=answers, defaults=True, quiet=True)
    saved = yaml.safe_load((tmp_path / "now" / ".copier-answers.yml").read_text(encoding="utf-8"))
    forget_question(template, question, saved.get(question, QUESTIONS[question]["default"]))
    commit(template, "Before", BEFORE)
    take_template(template)
    commit(template, "Now", NOW)
    project = start(template, tmp_path / "service", answers)
    assert f"\n{question}:" not in (project / ".copier-answers.yml").read_text(encoding="utf-8")
    done = update(project)
    assert (done.returncode, collisions(project)) == (0, []), done.stderr
    assert files(project, *OWN) == without(fresh(template, NOW, answers), *OWN)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("dirty", "Destination repository is dirty; cannot continue. Please commit or stash"),
        ("no git", "Updating is only supported in git-tracked subprojects."),
        (
            "newer",
            f"You are downgrading from {NOW[1:]} to {BEFORE[1:]}. Downgrades are not supported.",
        ),
    ],
)
def test_update_is_refused_with_a_line_that_helps(
    history: History, tmp_path: Path, state: str, line: str
) -> None:
    """Where an update would risk something, nothing is touched."""
    project = start(
        history("imagined"), tmp_path / "service", SKELETON, NOW if state == "newer" else BEFORE
    )
    if state == "dirty":
        change(project, "README.md", "## Layout", "## Rooms")
    if state == "no git":
        shutil.rmtree(project / ".git")
    before = tree(project)
    done = update(project, *([f"--vcs-ref={BEFORE}"] if state == "newer" else []))
    assert done.returncode != 0
    assert line in done.stderr.splitlines()[-1]
    assert tree(project) == before


def test_file_that_the_user_has_moved(history: History, tmp_path: Path) -> None:
    """It gets no update where it is; moved back for the update, it gets it and keeps the user's lines."""
    project = start(history("imagined"), tmp_path / "service", SKELETON)
    git(project, "mv", "src/utils/errors.py", "src/utils/failures.py")
    change(
        project,
        "src/utils/failures.py",
        "class RequestTooLargeError",
        "MINE = 1\n\n\nclass RequestTooLargeError",
    )
    commit(project, "Move")
    moved = (project / "src/utils/failures.py").read_bytes()
    assert (update(project).returncode, collisions(project)) == (0, [])
    assert not (project / "src/utils/errors.py").exists()
    assert (project / "src/utils/failures.py").read_bytes() == moved
    git(project, "reset", "--quiet", "--hard")
    git(project, "clean", "--quiet", "--force")
    git(project, "mv", "src/utils/failures.py", "src/utils/errors.py")
    commit(project, "Move back for the update")
    assert (update(project).returncode, collisions(project)) == (0, [])
    text = (project / "src/utils/errors.py").read_text(encoding="utf-8")
    assert ("MINE = 1\n" in text, CHANGED["src/utils/errors.py"][0][0] in text) == (True, True)


def test_file_that_a_release_has_moved(longer: Path, tmp_path: Path) -> None:
    """Moved by the user first, as upgrade notes tell, it holds the user's lines and the new ones, each shown."""
    old, new = MOVED
    project = start(longer, tmp_path / "service", SKELETON, NOW)
    change(project, old, '("PORT", "99999"),', '("PORT", "99999"),\n        ("PORT", "mine"),')
    commit(project, "Edit")
    git(project, "mv", old, new)
    commit(project, "Move as the upgrade notes tell")
    done = update(project)
    assert (done.returncode, collisions(project)) == (0, [new]), done.stderr
    text = (project / new).read_text(encoding="utf-8")
    first = '"""The settings are checked before anything else happens."""\n=======\n"""The settings are checked first."""'
    assert f"<<<<<<< before updating\n{first}\n>>>>>>> after updating\n" in text
    assert (
        '<<<<<<< before updating\n        ("PORT", "mine"),\n=======\n>>>>>>> after updating\n'
        in text
    )
    assert text.count("<<<<<<<") == 2
    assert not (project / old).exists()


# The job that does it


@pytest.fixture
def hosted(history: History, tmp_path: Path) -> Path:
    """A checkout of a project as CI has it; its origin, and what is called outside of it, are beside it."""
    project = start(history("imagined"), tmp_path / "service", SKELETON)
    git(tmp_path, "clone", "--quiet", "--bare", "service", "origin.git")
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    calls = {
        "pipx": f'[ "$1 $2" = "run copier" ] && shift 2 && exec {sys.executable} -m copier "$@"',
        "gh": f'echo "$@" >> {tmp_path}/calls',
    }
    (tmp_path / "bin").mkdir()
    for name, script in calls.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return project


def job(project: Path) -> Done:
    """Run the commands of the workflow, as GitHub's runner does, until one fails."""
    workflow = yaml.safe_load(
        (project / ".github/workflows/update.yml").read_text(encoding="utf-8")
    )
    path = f"{project.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for step in workflow["jobs"]["update"]["steps"]:
        if "run" in step:
            done = run(project, "bash", "-e", "-c", step["run"], PATH=path)
            if done.returncode:
                break
    return done


def test_job_opens_a_pull_request(hosted: Path, tmp_path: Path) -> None:
    """What came is on a branch of its own, from which a pull request is made; without news there is none."""
    done = job(hosted)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[-1] == "pr create --fill --head template-update"
    origin = tmp_path / "origin.git"
    assert "Update from the template" in git(origin, "log", "--format=%s", "main..template-update")
    assert git(origin, "show", f"template-update:{ADDED}") == (hosted / ADDED).read_text(
        encoding="utf-8"
    )
    assert "secret" not in git(origin, "ls-tree", "-r", "--name-only", "template-update")
    (tmp_path / "calls").unlink()
    assert job(hosted).returncode == 0
    assert not (tmp_path / "calls").exists()


def test_job_fails_on_a_collision(hosted: Path, tmp_path: Path) -> None:
    """Although Copier ends well, the job does not: it names the file, and pushes nothing."""
    change(hosted, "pyproject.toml", '"orjson>=3.12",', '"orjson==3.12.1",')
    commit(hosted, "Edit")
    done = job(hosted)
    assert done.returncode == 1
    assert "::error::" in done.stdout
    assert "pyproject.toml" in done.stdout
    assert not (tmp_path / "calls").exists()
    assert git(tmp_path / "origin.git", "branch", "--format=%(refname:short)") == "main\n"


def test_job_runs_weekly_once_its_marks_are_removed(hosted: Path) -> None:
    """By default nothing runs that was not asked for; the comment says how to ask."""
    text = (hosted / ".github/workflows/update.yml").read_text(encoding="utf-8")
    weekly = text.replace("  # schedule:", "  schedule:").replace("  #   - cron:", "    - cron:")
    on, weekly_on = (
        yaml.safe_load(one)[True] for one in (text, weekly)
    )  # YAML takes `on` for a truth
    assert on == {"workflow_dispatch": None}
    assert weekly_on == {"workflow_dispatch": None, "schedule": [{"cron": "23 5 * * 1"}]}


# Where the template is


@pytest.fixture
def clone(history: History, tmp_path: Path) -> Path:
    """A clone of the template before its newest release."""
    git(tmp_path, "clone", "--quiet", str(history("imagined")), "airtight")
    git(tmp_path / "airtight", "tag", "--delete", NOW)
    return tmp_path / "airtight"


def update_to_release(clone: Path, project: Path) -> None:
    """Release a version, and update a project in its own folder."""
    commit(project, "Start")
    git(clone, "tag", NOW)
    done = update(project)
    assert (done.returncode, collisions(project)) == (0, []), done.stderr
    answers = (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert f"_commit: {NOW}\n_src_path: {clone.resolve()}\n" in answers


def test_command_of_the_readme(clone: Path, tmp_path: Path) -> None:
    """What the README's first command renders can be updated."""
    [command] = re.findall(r"copier copy [^&\n]+", (ROOT / "README.md").read_text(encoding="utf-8"))
    arguments = command.replace("copier copy", "copy --quiet --data=example=none", 1)
    done = run(clone, "bash", "-c", f"{sys.executable} -m copier {arguments}")
    assert (done.returncode, done.stderr) == (0, "")
    update_to_release(clone, tmp_path / "my-service")


@pytest.mark.parametrize("source", [".", "../airtight", "./."])
def test_relative_path_of_the_template(clone: Path, tmp_path: Path, source: str) -> None:
    """A template given by a relative path is found at an update, and the user hears what that means."""
    done = copier(clone, "copy", "--defaults", "--data=example=none", source, "../my-service")
    assert done.returncode == 0, done.stderr
    assert f'by a relative path, "{source}"' in done.stderr
    assert f"{clone.resolve()}; whoever updates elsewhere needs its URL" in done.stderr
    update_to_release(clone, tmp_path / "my-service")


@pytest.mark.parametrize("source", ["{clone}", "git+file://{clone}"])
def test_address_of_the_template(clone: Path, tmp_path: Path, source: str) -> None:
    """A template given by an absolute path or a URL is recorded as it was given."""
    address = source.format(clone=clone)
    done = copier(tmp_path, "copy", "--defaults", "--data=example=none", address, "my-service")
    assert done.returncode == 0, done.stderr
    assert "relative" not in done.stderr
    answers = (tmp_path / "my-service" / ".copier-answers.yml").read_text(encoding="utf-8")
    assert f"_src_path: {address}\n" in answers


# What is released


def test_copy_takes_the_newest_release(history: History, tmp_path: Path) -> None:
    """The plain command renders the newest release; work after it does not reach users."""
    template = tmp_path / "airtight"
    shutil.copytree(history("imagined"), template)
    (template / "template" / "README.md").write_text("{{ broken", encoding="utf-8")
    commit(template, "Work")
    done = copier(tmp_path, "copy", "--defaults", str(template), "service")
    assert done.returncode == 0, done.stderr
    assert "cd service\n" in done.stderr
    assert "_commit: v1.1.0\n" in (tmp_path / "service" / ".copier-answers.yml").read_text(
        encoding="utf-8"
    )


def test_dirty_checkout_warns(tmp_path: Path) -> None:
    """Who renders work that is not committed is told so; by default it is the newest release that is rendered."""
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    commit(template, "One", BEFORE)
    change(template / "template", "README.md", "## Layout", "## Rooms")
    copy = ("copy", "--defaults", "--quiet", "--data=example=none", "--data=stores=[]")
    for options, warned, heading in (
        ((), False, "## Layout\n"),
        (("--vcs-ref=HEAD",), True, "## Rooms\n"),
    ):
        done = copier(tmp_path, *copy, *options, str(template), f"service{len(options)}")
        assert done.returncode == 0, done.stderr
        assert ("Dirty template changes included automatically" in done.stderr) is warned
        assert heading in (tmp_path / f"service{len(options)}" / "README.md").read_text(
            encoding="utf-8"
        )


def test_releases_are_found_by_tag_or_by_the_changelog(tmp_path: Path) -> None:
    """A released version stays reproducible, whether or not tags came along with the clone."""
    entries = ""
    for version in ("", "0.1.0", "0.2.0", ""):
        entries = (f"## [{version}] - 2026-01-01\n\n" if version else "- Work.\n\n") + entries
        (tmp_path / "CHANGELOG.md").write_text(f"## [Unreleased]\n\n{entries}", encoding="utf-8")
        (tmp_path / "content").write_text(version, encoding="utf-8")
        commit(tmp_path, version or "Work", "v0.2.0" if version == "0.2.0" else "")
    found = releases(tmp_path)
    assert found["0.2.0"] == "v0.2.0"
    contents = {
        version: git(tmp_path, "show", f"{reference}:content")
        for version, reference in found.items()
    }
    assert contents == {"0.1.0": "0.1.0", "0.2.0": "0.2.0"}
