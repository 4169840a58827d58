"""What is rendered works on Windows and macOS, too: names, line ends, commands, packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import copier
import pytest

from tests.support.files import tree
from tests.support.repositories import commit, git, take_template
from tests.support.template import ROOT, Render

RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{device}{number}" for device in ("com", "lpt") for number in range(10)),
}


def test_every_name_is_legal_everywhere(tmp_path: Path) -> None:
    """Windows can hold all files of this repository, which are also all that can be rendered."""
    take_template(tmp_path)
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    paths = {*tree(tmp_path), *tracked.stdout.split("\0")} - {""}
    assert "template/{{ _copier_conf.answers_file }}" in paths
    for path in paths:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', path), path
        assert len(path) < 120, path
        for name in path.split("/"):
            assert name.rstrip(". ") == name, path
            assert name.split(".")[0].lower() not in RESERVED, path
    assert len({path.casefold() for path in paths}) == len(paths)


def test_line_ends_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git turns line ends into Windows', neither the template's nor the project's are turned."""
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    (template / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    commit(template, "One", "v1.0.0")
    settings = {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.autocrlf",
        "GIT_CONFIG_VALUE_0": "true",
    }
    settings |= {"GIT_CONFIG_KEY_1": "core.eol", "GIT_CONFIG_VALUE_1": "crlf"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    git(tmp_path, "clone", "--quiet", str(template), "clone")
    assert tree(tmp_path / "clone") == tree(template)
    project = tmp_path / "service"
    copier.run_copy(str(tmp_path / "clone"), project, defaults=True, quiet=True)
    commit(project, "Start")
    git(tmp_path, "clone", "--quiet", str(project), "again")
    assert tree(tmp_path / "again") == tree(project)
    assert [path for path, (content, _) in tree(project).items() if b"\r" in content] == []


# In double quotes, which all shells know, or a list of arguments.
VARIABLE = r'(\$\(args\)|(--\w+=)?"\$\(\w+\)")'


def test_shell_is_needed_for_nothing_but_make(render: Render) -> None:
    """Each target of the Makefile is one call of a program that exists elsewhere, and no Python code uses a shell."""
    folder = render()
    lines = (folder / "Makefile").read_text(encoding="utf-8").splitlines()
    targets = [number for number, line in enumerate(lines) if re.match(r"[a-z][\w-]*:", line)]
    assert len(targets) >= 7
    for number in targets:
        recipe = [line for line in lines[number + 1 : number + 3] if line.startswith("\t")]
        assert len(recipe) == 1, lines[number]
        assert re.fullmatch(
            rf"\t@(\$\(PYTHON\) -(m dev [\w-]+( {VARIABLE})*|c .*)|docker [^|&;<>`$]+)", recipe[0]
        ), recipe
    assert [file for file in folder.rglob("*") if file.suffix in (".sh", ".bat")] == []
    code = {file: file.read_text(encoding="utf-8") for file in folder.rglob("*.py")}
    assert [
        file
        for file, text in code.items()
        if re.search(r"shell=True|os\.system\(|os\.popen\(|/bin/sh", text)
    ] == []


@pytest.mark.parametrize("platform", ["windows", "macos"])
def test_every_package_has_a_wheel(render: Render, platform: str) -> None:
    """Nobody needs a compiler to install the service with all its features."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--group=dev",
        "pyproject.toml",
    ]
    options = [f"--python-platform={platform}", "--python-version=3.14", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, *options],
        cwd=render(),
        env=os.environ,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^asyncpg==", done.stdout, re.MULTILINE)
    assert bool(re.search(r"^uvloop==", done.stdout, re.MULTILINE)) is (platform != "windows")


def test_changed_files_of_the_machine_are_listed(render: Render) -> None:
    """`make lint` lists the files of src/airtight that are not as they were rendered, and no others."""
    folder = render()
    code = "from dev.rendered import changed_files; print(*changed_files())"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=folder, text=True).split() == []
    changed = folder / "src/airtight/logging/redaction/names.py"
    changed.write_text(f"{changed.read_text(encoding='utf-8')}\n", encoding="utf-8")
    (folder / "src/airtight/added.py").touch()
    listed = subprocess.check_output(command, cwd=folder, text=True).split()
    assert listed == ["src/airtight/added.py", "src/airtight/logging/redaction/names.py"]
