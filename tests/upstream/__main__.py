"""Run FastAPI's own tests behind the error boundary, and compare with known differences.

The tests run twice: as they are, and with every application behind the boundary. A test that fails
only behind it has to be in `differences.toml`, with the reason. It is an error if one is missing
there, and also if one that is listed passes.

    python -m tests.upstream FOLDER    # of FastAPI's source distribution
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
TEMPLATE = HERE.parents[1] / "template"
LIST = HERE / "differences.toml"


def main(fastapi: Path) -> int:
    """Compare both runs with the list, and return the exit code."""
    listed = read_list()
    failures_as_they_are = failures_of(run_tests(fastapi))
    tests = run_tests(fastapi, "-p", "behind_boundary")
    failures = failures_of(tests)
    different = failures.keys() - failures_as_they_are.keys()
    unlisted = sorted(different - listed)
    outdated = sorted(listed - different)
    for name in unlisted:
        print(failures[name])
        print(f"fails behind the boundary, and is not in {LIST.name}: {name}")
    for name in outdated:
        print(f"does not fail behind the boundary alone, remove it from {LIST.name}: {name}")
    print(f"{len(different)} of {len(tests)} tests fail behind the boundary alone.")
    return 1 if unlisted or outdated else 0


def read_list() -> set[str]:
    """Return the tests that are known to fail behind the boundary."""
    differences = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return {test for difference in differences["difference"] for test in difference["tests"]}


def run_tests(fastapi: Path, *options: str) -> list[ElementTree.Element]:
    """Run FastAPI's tests with options for pytest, and return pytest's report on each."""
    # Logfire's plugin breaks a worker of pytest-xdist after a test of deep recursion.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests",
        "-q",
        "-p",
        "no:pytest_logfire",
        "-n",
        "auto",
    ]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        subprocess.run(
            [*command, "--no-summary", f"--junitxml={report}", *options],
            cwd=fastapi,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(TEMPLATE)])},
            check=False,
        )
        return list(ElementTree.parse(report).iter("testcase"))


def failures_of(tests: list[ElementTree.Element]) -> dict[str, str]:
    """Return the tests that failed, in themselves or in a fixture, each with its traceback."""
    return {
        f"{test.get('classname')}::{test.get('name')}": str(failure.text)
        for test in tests
        for failure in [*test.iter("failure"), *test.iter("error")]
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
