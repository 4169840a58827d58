"""`cookiecutter` renders what `copier copy` renders, so that `copier update` works afterwards."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hooks import post_gen_project as hook
from scripts.cookiecutter_json import cookiecutter_json
from tests.support.files import read, tree, write
from tests.support.projects import as_data
from tests.support.repositories import Done, commit, copier, git, run, take_template
from tests.support.template import ROOT, Answers

HOOK = ROOT / "hooks" / "post_gen_project.py"
CONTEXT = "{{ cookiecutter | jsonify | jsonify }}"
SKELETON: Answers = {"example": "none", "stores": [], "ci": "none"}  # the fastest to render


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of the template: one version released, and work after it."""
    folder = tmp_path_factory.mktemp("door")
    template = folder / "airtight"
    template.mkdir()
    take_template(template)
    commit(template, "One", "v1.0.0")
    readme = template / "template" / "README.md"
    write(readme, f"{read(readme)}\nMore of it.\n")
    commit(template, "Two")
    git(template, "branch", "next")
    return folder


def home_in(folder: Path) -> dict[str, str]:
    """Return an environment with a home of its own."""
    home = str(folder / "home")
    return {"HOME": home, "USERPROFILE": home}


def cookiecutter(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run the command that users type, with a home of its own."""
    command = (sys.executable, "-m", "cookiecutter", *arguments)
    return run(folder, *command, **home_in(folder), **environment)


def as_context(answers: Answers) -> dict[str, str]:
    """Return answers as texts, which is all that Cookiecutter takes."""
    texts = {}
    for name, answer in answers.items():
        several = isinstance(answer, list)
        texts[name] = ",".join(answer) or "none" if several else answer
    return texts


def as_words(answers: Answers) -> list[str]:
    """Return answers as arguments for Cookiecutter."""
    return [f"{name}={text}" for name, text in as_context(answers).items()]


def copied(folder: Path, template: str, answers: Answers, *options: str) -> Path:
    """Return what Copier renders."""
    copy = ("copy", "--defaults", "--quiet", *as_data(answers))
    done = copier(folder, *copy, *options, template, "copied")
    assert done.returncode == 0, done.stderr
    return folder / "copied"


def test_cookiecutter_json_is_generated() -> None:
    """`cookiecutter.json` asks what `copier.yml` asks; `nox -s cookiecutter_json` writes it."""
    assert cookiecutter_json(read(ROOT / "copier.yml")) == read(ROOT / "cookiecutter.json")


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {
            "project_name": "Übung 2!",
            "python_version": "3.12",
            "ci": "gitlab",
            "error_format": "message",
        },
        {"project_name": 'It\'s "quoted" \\ 🚀', "example": "none", "stores": ["postgres"]},
        {
            "project_name": "--2 Fast",
            "project_description": "${X} %PATH% * | > : # '''",
            **SKELETON,
        },
        {
            "project_name": "!!!",
            "example": "none",
            "stores": ["redis"],
            "observability": ["prometheus", "sentry"],
        },
    ],
    ids=["defaults", "umlaut", "quotes", "signs", "no-letter"],
)
def test_tree_is_the_same_byte_for_byte(door: Path, tmp_path: Path, answers: Answers) -> None:
    """Both commands render the newest release alike, the file of answers included."""
    template = os.path.relpath(door / "airtight", tmp_path)
    done = cookiecutter(tmp_path, "--no-input", template, *as_words(answers))
    assert done.returncode == 0, done.stderr
    [folder] = set(tmp_path.iterdir()) - {tmp_path / "home"}
    assert f"{folder} is ready" in done.stdout
    assert tree(folder) == tree(copied(tmp_path, template, answers))
    saved = read(folder / ".copier-answers.yml")
    path = (door / "airtight").resolve()
    assert f"_src_path: {path}\n" in saved
    assert "_commit: v1.0.0\n" in saved
    assert f"project_slug: {folder.name}\n" in saved


# By its kind: an address for Cookiecutter, the same for Copier, and a version.
ADDRESSES: dict[str, tuple[str, str, list[str]]] = {
    "relative": ("airtight", "airtight", []),
    "url": ("file://{door}/bare.git", "file://{door}/bare.git", []),
    "url-without-git": ("file://{door}/gitea/airtight", "git+file://{door}/gitea/airtight", []),
    "abbreviation": ("mine:airtight", "git+file://{door}/gitea/airtight", []),
    "branch": ("airtight", "airtight", ["next"]),
    "commit": ("file://{door}/bare.git", "file://{door}/bare.git", ["v1.0.0^0"]),
}


@pytest.mark.parametrize(("template", "same", "checkout"), ADDRESSES.values(), ids=ADDRESSES)
def test_template_may_be_a_path_or_a_url(
    door: Path, tmp_path: Path, template: str, same: str, checkout: list[str]
) -> None:
    """The file of answers has what Cookiecutter was given, in Copier's form, and not its clone."""
    shutil.copytree(door / "airtight", tmp_path / "airtight")
    git(tmp_path, "clone", "--quiet", "--bare", str(door / "airtight"), "bare.git")
    git(tmp_path, "clone", "--quiet", str(door / "airtight"), "gitea/airtight")
    rc = f"abbreviations:\n  mine: git+file://{tmp_path}/gitea/{{0}}\n"
    write(tmp_path / "rc", rc)
    options = ["--no-input", "--config-file=rc", "--output-dir=out"]
    options += [f"--checkout={reference}" for reference in checkout]
    address = template.format(door=tmp_path)
    done = cookiecutter(tmp_path, *options, address, *as_words(SKELETON))
    assert done.returncode == 0, done.stderr
    references = [f"--vcs-ref={reference}" for reference in checkout]
    expected = copied(tmp_path, same.format(door=tmp_path), SKELETON, *references)
    assert tree(tmp_path / "out" / "my-service") == tree(expected)


def test_update_works_afterwards(door: Path, tmp_path: Path) -> None:
    """What Cookiecutter has rendered, `copier update` updates."""
    shutil.copytree(door / "airtight", tmp_path / "airtight")
    # With a wrong folder in PWD the template is found beside the new project.
    nowhere = str(tmp_path / "nowhere")
    done = cookiecutter(tmp_path, "--no-input", "./airtight", *as_words(SKELETON), PWD=nowhere)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "my-service"
    commit(project, "Start")
    git(tmp_path / "airtight", "tag", "v1.1.0")
    answers = project / ".copier-answers.yml"
    done = copier(project, "update", "--defaults")
    assert done.returncode == 0, done.stderr
    source = (tmp_path / "airtight").resolve()
    assert f"_commit: v1.1.0\n_src_path: {source}\n" in read(answers)
    assert tree(project) == tree(copied(tmp_path, "./airtight", SKELETON))


def test_replay_renders_the_same_again(door: Path, tmp_path: Path) -> None:
    """`--replay` takes the answers of the last time."""
    answers: Answers = {"project_name": "🚀 'Twice'", "example": "none", "stores": ["redis"]}
    template = str(door / "airtight")
    assert cookiecutter(tmp_path, "--no-input", template, *as_words(answers)).returncode == 0
    assert cookiecutter(tmp_path, "--replay", "--output-dir=again", template).returncode == 0
    assert tree(tmp_path / "twice") == tree(tmp_path / "again" / "twice")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            "project_slug=9lives",
            "Use lower-case letters, digits and dashes, a letter first, for example my-service.",
        ),
        ("project_slug=My/Service", "Use lower-case letters"),
        ("project_slug=", "Use lower-case letters"),
        ("project_name=a\nb", "Give a name of one line"),
        ("stores=mysql", "stores: mysql is not one of postgres, redis, none."),
        ("stores=redis", "An example uses both stores"),
    ],
)
def test_wrong_answer_is_refused_with_a_line_that_helps(
    door: Path, tmp_path: Path, answer: str, line: str
) -> None:
    """What Copier's validators refuse ends with their line, and leaves no folder behind."""
    done = cookiecutter(tmp_path, "--no-input", str(door / "airtight"), answer)
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert [text for text in lines if line in text] == lines[:1]  # the rest is Cookiecutter's own
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_folder_that_is_not_empty_stays_as_it_is(door: Path, tmp_path: Path) -> None:
    """`--overwrite-if-exists` fills a repository without files, and overwrites no project."""
    project = tmp_path / "my-service"
    git(tmp_path, "init", "--quiet", "my-service")
    command = ["--no-input", "--overwrite-if-exists", str(door / "airtight"), *as_words(SKELETON)]
    assert cookiecutter(tmp_path, *command).returncode == 0
    write(project / "README.md", "mine")
    before = tree(project)
    done = cookiecutter(tmp_path, *command)
    assert done.returncode != 0
    assert f"{project} is not empty" in done.stderr
    assert tree(project) == before


def test_without_hooks_the_folder_says_what_to_do(door: Path, tmp_path: Path) -> None:
    """Without the hook, a file says how to render."""
    template = str(door / "airtight")
    assert cookiecutter(tmp_path, "--no-input", "--accept-hooks=no", template).returncode == 0
    assert [path.name for path in (tmp_path / "my-service").iterdir()] == [hook.STUB]
    text = read(tmp_path / "my-service" / hook.STUB)
    assert f"copier copy {template} my-service" in text


def test_cruft_works(door: Path, tmp_path: Path) -> None:
    """`cruft create` renders the commit that it notes, and `cruft update` brings a later one."""
    shutil.copytree(door / "airtight", tmp_path / "airtight")
    git(tmp_path / "airtight", "switch", "--quiet", "--detach", "v1.0.0")
    cruft = (sys.executable, "-m", "cruft")
    home = home_in(tmp_path)
    context = ("--no-input", "--extra-context", json.dumps(as_context(SKELETON)))
    create = run(tmp_path, *cruft, "create", "airtight", *context, **home)
    assert create.returncode == 0, create.stderr
    project = tmp_path / "my-service"
    answers = project / ".copier-answers.yml"
    assert "_commit: v1.0.0\n" in read(answers)
    commit(project, "Start")
    git(tmp_path / "airtight", "switch", "--quiet", "main")
    update = run(project, *cruft, "update", "--skip-apply-ask", **home)
    assert update.returncode == 0, update.stderr
    assert read(project / "README.md").endswith("\nMore of it.\n")
    assert "_commit: v1.0.0-1-g" in read(answers)


# The hook by itself


def test_hook_needs_nothing_but_python() -> None:
    """It imports the standard library only, and Cookiecutter fills in one place of it."""
    text = read(HOOK)
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names
    [line] = [line for line in text.splitlines() if re.search(r"\{\{|\{%|\{#", line)]
    assert len(re.findall(r"\{\{|\{%|\{#", line)) == 1
    assert text.count(CONTEXT) == 1


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has nothing installed."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if sys.platform == "win32":
        return str(folder / "Scripts" / "python.exe")
    return str(folder / "bin" / "python")


def tools(folder: Path, *names: str) -> str:
    """Return a PATH that holds git and programs of these names."""
    programs = folder / "bin"
    programs.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name in ("git", *names):
        program = shutil.which(name, path=path) or sys.executable
        (programs / name).symlink_to(program)
    return str(programs)


PRINT_COMMAND = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from hooks.post_gen_project import copier
print(copier())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="makes programs by symbolic links")
@pytest.mark.parametrize(
    ("installed", "command"),
    [
        (["copier", "uvx", "pipx"], ["{bin}/copier"]),
        (["uvx", "pipx"], ["{bin}/uvx", "copier"]),
        (["pipx"], ["{bin}/pipx", "run", "copier"]),
    ],
)
def test_copier_is_found(
    bare_python: str, tmp_path: Path, installed: list[str], command: list[str]
) -> None:
    """Copier is this Python's; where it has none, that on PATH, else that of uvx, else of pipx."""
    path = tools(tmp_path, *installed)
    found = subprocess.run(
        [bare_python, "-c", PRINT_COMMAND],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(found.stdout) == [part.format(bin=path) for part in command]
    assert hook.copier() == [sys.executable, "-m", "copier"]


def run_hook(python: str, folder: Path, template: Path, **environment: str) -> Done:
    """Run the hook as Cookiecutter does, by another Python."""
    project = folder / "my-service"
    project.mkdir()
    (project / hook.STUB).touch()
    context = {
        "_several": {"stores": ["postgres", "redis"]},
        "_template": str(template),
        "_output_dir": str(folder),
        **as_context(SKELETON),
    }
    literal = json.dumps(json.dumps(context))
    write(folder / "hook.py", read(HOOK).replace(CONTEXT, literal))
    return subprocess.run(
        [python, str(folder / "hook.py")],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="makes programs by symbolic links")
def test_uvx_fetches_copier(bare_python: str, door: Path, tmp_path: Path) -> None:
    """Where only uv is installed, the render is the same."""
    path = f"{tools(tmp_path, 'uv', 'uvx')}:/usr/bin:/bin"  # git is partly a shell script
    assert shutil.which("copier", path=path) is None
    cache = run(tmp_path, sys.executable, "-m", "uv", "cache", "dir")
    assert cache.returncode == 0, cache.stderr
    environment = {
        "PATH": path,
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "UV_PYTHON": bare_python,
    }
    for name, value in os.environ.items():
        if name.startswith(("UV_", "PIP_", "SSL_")):
            environment.setdefault(name, value)
    done = run_hook(bare_python, tmp_path, door / "airtight", **environment)
    assert done.returncode == 0, done.stderr
    expected = copied(tmp_path, str(door / "airtight"), SKELETON)
    assert tree(tmp_path / "my-service") == tree(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="makes programs by symbolic links")
def test_without_copier_one_line_says_what_to_install(
    bare_python: str, door: Path, tmp_path: Path
) -> None:
    """Where nothing can run Copier, nothing is rendered."""
    done = run_hook(bare_python, tmp_path, door / "airtight", PATH=tools(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [hook.MISSING]
    assert list((tmp_path / "my-service").iterdir()) == []


@pytest.mark.parametrize(
    ("template", "understood"),
    [
        ("gh:team/airtight", "gh:team/airtight"),
        ("https://github.com/team/airtight", "https://github.com/team/airtight"),
        ("https://gitea.example.com/team/airtight", "git+https://gitea.example.com/team/airtight"),
        (
            "https://gitea.example.com/team/airtight.git",
            "https://gitea.example.com/team/airtight.git",
        ),
        ("git@example.com:team/airtight", "git@example.com:team/airtight"),
        ("me@example.com:airtight", "git+me@example.com:airtight"),
        ("ssh://git@example.com/airtight", "git+ssh://git@example.com/airtight"),
    ],
)
def test_url_is_said_in_words_that_copier_understands(
    tmp_path: Path, template: str, understood: str
) -> None:
    """Copier recognises some addresses of repositories by themselves, and the others by `git+`."""
    assert hook.source({"_template": template}, [tmp_path]) == (understood, tmp_path)


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ({"_template": "https://example.com/airtight.zip"}, "A zip file has no history"),
        (
            {"_template": "../elsewhere", "_repo_dir": "../elsewhere"},
            "Cannot find ../elsewhere",
        ),
    ],
)
def test_template_without_address_is_refused(
    tmp_path: Path, context: dict[str, str], line: str
) -> None:
    """What could not be updated later is not rendered."""
    with pytest.raises(SystemExit, match=line):
        hook.source(context, [tmp_path])
