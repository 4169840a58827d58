"""`copier update` brings what is new, keeps what is the user's, and shows where both collide."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import copier as copier_api
import pytest
import yaml

from tests.support.files import change, empty_folders, read, tree, write
from tests.support.owner import work_for_a_week
from tests.support.projects import (
    OWN,
    as_data,
    collisions,
    files_of,
    fresh,
    known_answers,
    start,
    update,
    update_cleanly,
    without,
    write_tree,
)
from tests.support.repositories import (
    ADDED,
    BEFORE,
    EARLIER,
    MOVED_FROM,
    MOVED_TO,
    NEXT,
    NOW,
    REMOVED,
    Done,
    commit,
    copier,
    earlier_states,
    forget_question,
    git,
    go_on,
    make_history,
    releases,
    run,
    take_template,
    text_of_now,
)
from tests.support.services import make
from tests.support.template import ANCHORS, EVERYTHING, QUESTIONS, ROOT, Answers

History = Callable[..., Path]

IMAGINED: dict[str, str | None] = {"imagined": None}
RELEASED = releases(ROOT)
RELEASES = IMAGINED | RELEASED | earlier_states(ROOT)
KINDS: dict[str, Answers] = ANCHORS | {
    "none-redis": {"example": "none", "stores": ["redis"]},
}
SKELETON: Answers = {"example": "none", "stores": []}  # the fastest to render
CASES = [
    pytest.param(release, answers, id=f"{release}-{kind}")
    for release in RELEASES
    for kind, answers in KINDS.items()
    if EVERYTHING or kind in ("default", "orders")
    # The upgrade notes of 1.0.0 say which file is left then.
    if not (release in EARLIER and kind == "none-nothing")
]
CASES_WITH_EDITS = [
    pytest.param(release, answers, id=f"{release}-{kind}")
    for release in IMAGINED | RELEASED
    for kind, answers in KINDS.items()
    if EVERYTHING or release == "imagined" or kind == "default"
]
NEW_QUESTIONS = QUESTIONS if EVERYTHING else ["example", "observability", "deploy"]


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A function that returns a repository of the template: a release, then the state of now."""
    made: dict[str, Path] = {}

    def get(release: str = "imagined") -> Path:
        if release not in made:
            folder = tmp_path_factory.mktemp("history") / "airtight"
            made[release] = make_history(folder, RELEASES[release])
        return made[release]

    return get


def test_updated_project_passes_its_checks(history: History, tmp_path: Path) -> None:
    """A project with own work and a lock file installs, tests and lints after an update."""
    project = start(history(), tmp_path / "service", {"example": "none"})
    (project / ".env").unlink()
    work_for_a_week(project)
    assert run(project, sys.executable, "-m", "uv", "lock", "--quiet").returncode == 0
    commit(project, "A week of work")
    update_cleanly(project)
    lock_file = project / "uv.lock"
    assert "python-multipart" in read(lock_file)
    if EVERYTHING:
        assert "Required test coverage of 95.0% reached" in make(project, "test")
    else:
        assert " passed in " in make(project, "test", "args=tests/unit")
    assert "Contracts: 6 kept, 0 broken" in make(project, "lint")
    assert "python-multipart" not in read(lock_file)
    assert 'name = "humanize"' in read(lock_file)


@pytest.mark.parametrize(("release", "answers"), CASES)
def test_update_without_edits_gives_a_fresh_render(
    history: History, tmp_path: Path, release: str, answers: Answers
) -> None:
    """From every release, for all kinds of answers, only what is the user's differs from a new render."""
    template = history(release)
    answers = known_answers(template, BEFORE, answers)
    project = start(template, tmp_path / "service", answers)
    changelog = (project / "CHANGELOG.md").read_bytes()
    update_cleanly(project)
    assert files_of(project) == without(fresh(template, NOW, answers), *OWN)
    assert (project / "CHANGELOG.md").read_bytes() == changelog
    shutil.rmtree(project / ".git")
    assert empty_folders(project) == []


@pytest.mark.parametrize(("release", "answers"), CASES_WITH_EDITS)
def test_update_keeps_what_the_user_has_made(
    history: History, tmp_path: Path, release: str, answers: Answers
) -> None:
    """After a week of work, an update gives what the same work would have made of a new render."""
    template = history(release)
    project = start(template, tmp_path / "service", answers)
    work_for_a_week(project)
    change(project, "CHANGELOG.md", "\n- ", "\n- Quotas.\n- ")
    write(project / "uv.lock", "# mine\n")
    commit(project, "A week of work")
    before = tree(project)
    update_cleanly(project)
    again = write_tree(fresh(template, NOW, answers), tmp_path / "again")
    work_for_a_week(again)
    assert files_of(project) == without(tree(again), *OWN)
    after = tree(project)
    for path in OWN:
        assert after[path] == before[path]


def test_collision_is_visible_and_loses_nothing(history: History, tmp_path: Path) -> None:
    """Where both have changed the same lines, the file holds both, and git and Copier say so."""
    project = start(history(), tmp_path / "service", SKELETON)
    mine = "Ask Ada for a class in `src/utils/errors.py`"
    change(project, "README.md", "Some lines in `src/utils/errors.py`", mine)
    change(project, "pyproject.toml", '"orjson>=3.12",', '"orjson==3.12.1",')
    write(project / ADDED, '"""Rules of our own."""\n')
    commit(project, "Edit")
    done = update(project)
    assert done.returncode == 0, done.stderr  # Copier sees nothing wrong in it
    assert "git ls-files -u" in done.stderr
    assert f"Upgrade notes: CHANGELOG.md of {history()}" in done.stderr
    assert collisions(project) == sorted(["README.md", "pyproject.toml", ADDED])
    check_both_are_in(project, "README.md", mine)
    check_both_are_in(project, "pyproject.toml", '"orjson==3.12.1",')
    assert "Rules of our own" in read(project / ADDED)
    # git commits the markers without a word, and finds them afterwards.
    committed = run(project, "git", "commit", "--all", "--message", "In a hurry")
    assert committed.returncode == 0
    assert "<<<<<<<" in git(project, "grep", "<<<<<<<")


def check_both_are_in(project: Path, path: str, mine: str) -> None:
    """A file has the user's line between markers, and the line of the update."""
    text = read(project / path)
    before = text.index("<<<<<<< before updating")
    after = text.index(">>>>>>> after updating")
    assert before < text.index(mine) < after
    assert text_of_now(path) in text


def test_file_that_a_release_removes_is_shown_as_removed(history: History, tmp_path: Path) -> None:
    """What the user wrote into a file that is no longer rendered is in git's diff, not lost."""
    project = start(history(), tmp_path / "service", SKELETON)
    removed = project / REMOVED
    write(removed, "Read me.\nMine.\n")
    write(removed.with_name("own.txt"), "Mine.\n")
    commit(project, "Edit")
    update_cleanly(project)
    assert f" D {REMOVED}" in git(project, "status", "--short").splitlines()
    assert "-Mine." in git(project, "diff", "--", REMOVED)
    assert removed.with_name("own.txt").exists()


def test_example_that_was_deleted_by_hand_stays_deleted(history: History, tmp_path: Path) -> None:
    """An update does not bring back files that the user has deleted, nor lines."""
    project = start(history(), tmp_path / "service", {})
    named = [path for path in project.rglob("*") if "decision" in path.name]
    example = [*named, project / "src" / "models"]
    assert len(example) >= 6
    for path in named:
        path.unlink()
    shutil.rmtree(project / "src" / "models")
    main = project / "src" / "main.py"
    lines = read(main).splitlines(keepends=True)
    kept = "".join(line for line in lines if not re.search("(?i)decision|scorecard", line))
    write(main, kept)
    commit(project, "Remove the example")
    update_cleanly(project)
    assert [path for path in example if path.exists()] == []
    assert read(main) == kept.replace("Make the application", "Build the application")


# By what it shows: the version to start with, the answers to it, and other answers.
SWITCHES: dict[str, tuple[str, Answers, Answers]] = {
    "no-example": (
        NOW,
        {"ci": "gitlab"},
        {"example": "none", "ci": "github", "python_version": "3.12"},
    ),
    "no-orders": (NOW, {"example": "orders"}, {"example": "none"}),
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


@pytest.mark.parametrize(("version", "answers", "other"), SWITCHES.values(), ids=SWITCHES)
def test_answer_can_be_changed(
    history: History, tmp_path: Path, version: str, answers: Answers, other: Answers
) -> None:
    """With another answer an update gives a new render of it, with or without a newer version."""
    template = history()
    project = start(template, tmp_path / "service", answers, version)
    own = project / "src" / "api" / "own.py"
    write(own, '"""Mine."""\n')
    commit(project, "Work")
    update_cleanly(project, *as_data(other))
    assert read(own) == '"""Mine."""\n'
    merged = answers | other
    if merged.get("example") != "none":
        merged.pop("stores", None)
    expected = without(fresh(template, NOW, merged), *OWN)
    assert without(files_of(project), "src/api/own.py") == expected


@pytest.fixture
def longer(history: History, tmp_path: Path) -> Path:
    """A repository of the template with a third version."""
    template = tmp_path / "airtight"
    shutil.copytree(history(), template)
    go_on(template)
    commit(template, "Next", NEXT)
    return template


def test_update_after_update(longer: Path, tmp_path: Path) -> None:
    """Each version arrives, a new question has its default, and then there is nothing left to do."""
    project = start(longer, tmp_path / "service", SKELETON)
    assert "New template version available" in copier(project, "check-update").stdout
    for version in (NOW, NEXT):
        update_cleanly(project, f"--vcs-ref={version}")
        assert files_of(project) == without(fresh(longer, version, SKELETON), *OWN)
        commit(project, version)
    assert copier(project, "check-update", "--quiet").returncode == 0
    assert update(project).returncode == 0
    assert git(project, "status", "--short") == ""
    assert "owner: nobody\n" in read(project / ".copier-answers.yml")
    assert update(project, "--data=owner=Ada").returncode == 0
    assert "+Ask Ada." in git(project, "diff", "README.md")


@pytest.mark.parametrize("question", NEW_QUESTIONS)
def test_question_that_is_new(tmp_path: Path, question: str) -> None:
    """A project that was never asked a question is updated as if it had taken the default."""
    answers = {name: answer for name, answer in SKELETON.items() if name != question}
    if question == "example":
        answers.pop("stores")  # the example that is the default uses both
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    now = tmp_path / "now"
    copier_api.run_copy(str(template), now, data=answers, defaults=True, quiet=True)
    saved = yaml.safe_load(read(now / ".copier-answers.yml"))
    default = QUESTIONS[question]["default"]
    forget_question(template, question, saved.get(question, default))
    commit(template, "Before", BEFORE)
    take_template(template)
    commit(template, "Now", NOW)
    project = start(template, tmp_path / "service", answers)
    assert f"\n{question}:" not in read(project / ".copier-answers.yml")
    update_cleanly(project)
    assert files_of(project) == without(fresh(template, NOW, answers), *OWN)


def test_update_of_a_dirty_project_is_refused(history: History, tmp_path: Path) -> None:
    """Where work is not committed, one line says so, and nothing is touched."""
    project = start(history(), tmp_path / "service", SKELETON)
    change(project, "README.md", "## Layout", "## Rooms")
    line = "Destination repository is dirty; cannot continue. Please commit or stash"
    check_refusal(project, line)


def test_update_without_git_is_refused(history: History, tmp_path: Path) -> None:
    """Where git could not show what an update does, one line says so, and nothing is touched."""
    project = start(history(), tmp_path / "service", SKELETON)
    shutil.rmtree(project / ".git")
    check_refusal(project, "Updating is only supported in git-tracked subprojects.")


def test_downgrade_is_refused(history: History, tmp_path: Path) -> None:
    """Back to an older version there is no way, one line says so, and nothing is touched."""
    project = start(history(), tmp_path / "service", SKELETON, NOW)
    versions = f"from {NOW[1:]} to {BEFORE[1:]}"
    line = f"You are downgrading {versions}. Downgrades are not supported."
    check_refusal(project, line, f"--vcs-ref={BEFORE}")


def check_refusal(project: Path, line: str, *arguments: str) -> None:
    """An update fails with this line as its last one, and changes no file."""
    before = tree(project)
    done = update(project, *arguments)
    assert done.returncode != 0
    assert line in done.stderr.splitlines()[-1]
    assert tree(project) == before


def test_file_that_the_user_has_moved(history: History, tmp_path: Path) -> None:
    """It gets no update where it is; moved back for the update, it gets it and keeps own lines."""
    project = start(history(), tmp_path / "service", SKELETON)
    errors = "src/utils/errors.py"
    failures = "src/utils/failures.py"
    git(project, "mv", errors, failures)
    first = "class RequestTooLargeError"
    change(project, failures, first, f"MINE = 1\n\n\n{first}")
    commit(project, "Move")
    moved = read(project / failures)
    update_cleanly(project)
    assert not (project / errors).exists()
    assert read(project / failures) == moved

    git(project, "reset", "--quiet", "--hard")
    git(project, "clean", "--quiet", "--force")
    git(project, "mv", failures, errors)
    commit(project, "Move back for the update")
    update_cleanly(project)
    text = read(project / errors)
    assert "MINE = 1\n" in text
    assert text_of_now(errors) in text


BOTH_DOCSTRINGS = '''<<<<<<< before updating
"""The settings are checked before anything else happens."""
=======
"""The settings are checked first."""
>>>>>>> after updating
'''
OWN_CASE = """<<<<<<< before updating
        ("PORT", "mine"),
=======
>>>>>>> after updating
"""


def test_file_that_a_release_has_moved(longer: Path, tmp_path: Path) -> None:
    """Moved first, as upgrade notes say, it holds the user's lines and the new ones, each marked."""
    project = start(longer, tmp_path / "service", SKELETON, NOW)
    case = '("PORT", "99999"),'
    change(project, MOVED_FROM, case, f'{case}\n        ("PORT", "mine"),')
    commit(project, "Edit")
    git(project, "mv", MOVED_FROM, MOVED_TO)
    commit(project, "Move as the upgrade notes say")
    done = update(project)
    assert done.returncode == 0, done.stderr
    assert collisions(project) == [MOVED_TO], done.stderr
    text = read(project / MOVED_TO)
    assert BOTH_DOCSTRINGS in text
    assert OWN_CASE in text
    assert text.count("<<<<<<<") == 2
    assert not (project / MOVED_FROM).exists()


# The job that does it


@pytest.fixture
def hosted(history: History, tmp_path: Path) -> Path:
    """A checkout of a project as CI has it; its origin and the programs that CI has are beside it."""
    project = start(history(), tmp_path / "service", SKELETON)
    git(tmp_path, "clone", "--quiet", "--bare", "service", "origin.git")
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    programs = tmp_path / "bin"
    programs.mkdir()
    run_copier = f'exec {sys.executable} -m copier "$@"'
    write(programs / "pipx", f'#!/bin/sh\n[ "$1 $2" = "run copier" ] && shift 2 && {run_copier}\n')
    write(programs / "gh", f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return project


def update_workflow(project: Path) -> str:
    """Return the text of the workflow that updates a project."""
    return read(project / ".github/workflows/update.yml")


def run_job(project: Path) -> Done:
    """Run the commands of the workflow, as GitHub's runner does, until one fails."""
    workflow = yaml.safe_load(update_workflow(project))
    path = f"{project.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for step in workflow["jobs"]["update"]["steps"]:
        if "run" in step:
            done = run(project, "bash", "-e", "-c", step["run"], PATH=path)
            if done.returncode:
                break
    return done


def test_job_opens_a_pull_request(hosted: Path, tmp_path: Path) -> None:
    """An update is on a branch of its own, with a pull request; without an update there is none."""
    done = run_job(hosted)
    assert done.returncode == 0, done.stderr
    calls = read(tmp_path / "calls").splitlines()
    assert calls[-1] == "pr create --fill --head template-update"
    origin = tmp_path / "origin.git"
    subjects = git(origin, "log", "--format=%s", "main..template-update")
    assert "Update from the template" in subjects
    assert git(origin, "show", f"template-update:{ADDED}") == read(hosted / ADDED)
    names = git(origin, "ls-tree", "-r", "--name-only", "template-update")
    assert "secret" not in names
    (tmp_path / "calls").unlink()
    assert run_job(hosted).returncode == 0
    assert not (tmp_path / "calls").exists()


def test_job_fails_on_a_collision(hosted: Path, tmp_path: Path) -> None:
    """Although Copier succeeds, the job does not: it names the file, and pushes nothing."""
    change(hosted, "pyproject.toml", '"orjson>=3.12",', '"orjson==3.12.1",')
    commit(hosted, "Edit")
    done = run_job(hosted)
    assert done.returncode == 1
    assert "::error::" in done.stdout
    assert "pyproject.toml" in done.stdout
    assert not (tmp_path / "calls").exists()
    assert git(tmp_path / "origin.git", "branch", "--format=%(refname:short)") == "main\n"


def test_job_runs_weekly_once_its_marks_are_removed(hosted: Path) -> None:
    """By default it runs on demand only; its comment is the schedule of a week."""
    text = update_workflow(hosted)
    weekly = text.replace("  # schedule:", "  schedule:").replace("  #   - cron:", "    - cron:")
    by_hand = {"workflow_dispatch": None}
    # YAML reads the key `on` as true.
    assert yaml.safe_load(text)[True] == by_hand
    schedule = [{"cron": "23 5 * * 1"}]
    assert yaml.safe_load(weekly)[True] == by_hand | {"schedule": schedule}


# Where the template is


@pytest.fixture
def clone(history: History, tmp_path: Path) -> Path:
    """A clone of the template before its newest release."""
    git(tmp_path, "clone", "--quiet", str(history()), "airtight")
    git(tmp_path / "airtight", "tag", "--delete", NOW)
    return tmp_path / "airtight"


def update_to_release(clone: Path, project: Path) -> None:
    """Release a version, and update a project in its own folder."""
    commit(project, "Start")
    git(clone, "tag", NOW)
    update_cleanly(project)
    answers = read(project / ".copier-answers.yml")
    assert f"_commit: {NOW}\n_src_path: {clone.resolve()}\n" in answers


def test_command_of_the_readme(clone: Path, tmp_path: Path) -> None:
    """What the README's first command renders can be updated."""
    [command] = re.findall(r"copier copy [^&\n]+", read(ROOT / "README.md"))
    arguments = command.replace("copier copy", "copy --quiet --data=example=none", 1)
    done = run(clone, "bash", "-c", f"{sys.executable} -m copier {arguments}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    update_to_release(clone, tmp_path / "my-service")


COPY = (
    "copy",
    "--defaults",
    "--data=example=none",
)


@pytest.mark.parametrize("source", [".", "../airtight", "./."])
def test_relative_path_of_the_template(clone: Path, tmp_path: Path, source: str) -> None:
    """A template at a relative path is found at an update, and a line says what that means."""
    done = copier(clone, *COPY, source, "../my-service")
    assert done.returncode == 0, done.stderr
    assert f'by a relative path, "{source}"' in done.stderr
    assert f"{clone.resolve()}; to update elsewhere, write its URL" in done.stderr
    update_to_release(clone, tmp_path / "my-service")


@pytest.mark.parametrize("source", ["{clone}", "git+file://{clone}"])
def test_address_of_the_template(clone: Path, tmp_path: Path, source: str) -> None:
    """A template at an absolute path or a URL is recorded as it was written."""
    address = source.format(clone=clone)
    done = copier(tmp_path, *COPY, address, "my-service")
    assert done.returncode == 0, done.stderr
    assert "relative" not in done.stderr
    answers = read(tmp_path / "my-service" / ".copier-answers.yml")
    assert f"_src_path: {address}\n" in answers


# What is released


def test_copy_takes_the_newest_release(history: History, tmp_path: Path) -> None:
    """The plain command renders the newest release; work after it does not reach users."""
    template = tmp_path / "airtight"
    shutil.copytree(history(), template)
    write(template / "template" / "README.md", "{{ broken")
    commit(template, "Work")
    done = copier(tmp_path, "copy", "--defaults", str(template), "service")
    assert done.returncode == 0, done.stderr
    assert "cd service\n" in done.stderr
    assert "_commit: v1.1.0\n" in read(tmp_path / "service" / ".copier-answers.yml")


def test_dirty_checkout_warns(tmp_path: Path) -> None:
    """By default the newest release is rendered; work that is not committed only with a warning."""
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    commit(template, "One", BEFORE)
    change(template / "template", "README.md", "## Layout", "## Rooms")
    copy = (*COPY, "--quiet", "--data=stores=[]")
    warning = "Dirty template changes included automatically"

    done = copier(tmp_path, *copy, str(template), "released")
    assert done.returncode == 0, done.stderr
    assert warning not in done.stderr
    assert "## Layout\n" in read(tmp_path / "released" / "README.md")

    done = copier(tmp_path, *copy, "--vcs-ref=HEAD", str(template), "dirty")
    assert done.returncode == 0, done.stderr
    assert warning in done.stderr
    assert "## Rooms\n" in read(tmp_path / "dirty" / "README.md")


def test_releases_are_found_by_tag_or_by_the_changelog(tmp_path: Path) -> None:
    """A released version stays reproducible, whether or not tags came along with the clone."""
    commit_changelog(tmp_path, "- Work.")
    commit_changelog(tmp_path, "## [0.1.0] - 2026-01-01", "- Work.")
    commit_changelog(
        tmp_path, "## [0.2.0] - 2026-01-01", "## [0.1.0] - 2026-01-01", "- Work.", tag="v0.2.0"
    )
    commit_changelog(
        tmp_path, "- Work.", "## [0.2.0] - 2026-01-01", "## [0.1.0] - 2026-01-01", "- Work."
    )
    found = releases(tmp_path)
    assert found.keys() == {"0.1.0", "0.2.0"}
    assert found["0.2.0"] == "v0.2.0"
    for version, reference in found.items():
        newest = git(tmp_path, "show", f"{reference}:CHANGELOG.md").splitlines()[2]
        assert newest.startswith(f"## [{version}]")


def commit_changelog(folder: Path, *entries: str, tag: str = "") -> None:
    """Commit a changelog with these entries."""
    write(folder / "CHANGELOG.md", "\n\n".join(["## [Unreleased]", *entries, ""]))
    commit(folder, "Work", tag)
