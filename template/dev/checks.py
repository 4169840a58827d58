"""The checks of the code, and of what it depends on."""

import os
import subprocess
import sys

from dev import OWN, ROOT
from dev.programs import run
from dev.rendered import changed_files

CHECKS = [
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
    ("python", "-m", "dev.house_rules", "src"),
    # copier: if "postgres" in stores
    ("python", "-m", "dev.migration_lint"),
    # copier: endif
]
NO_TESTS_COLLECTED = 5  # pytest's exit code


def test(*arguments: str) -> None:
    """Run the tests; takes what pytest takes."""
    print("collecting tests ...", file=sys.stderr)
    code = run("pytest", *(arguments or ("--cov",)))
    if code == NO_TESTS_COLLECTED:
        print(f"no test is selected by: {' '.join(arguments)}", file=sys.stderr)
    sys.exit(code)


def lint() -> None:
    """Run all checks of the code, and fail at the end if one of them has failed."""
    failed = []
    for check in CHECKS:
        command = " ".join(check)
        print(f"{command} ...", file=sys.stderr)
        if run(*check):
            failed.append(command)
    for file in changed_files():
        print(f"{file} differs from what was rendered; an update merges both")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def format_code(*paths: str) -> None:
    """Format code, and fix what can be fixed, everywhere or in some files and folders."""
    targets = paths or (".",)
    formatted = run("ruff", "format", *targets)
    fixed = run("ruff", "check", "--fix", *targets)
    sys.exit(formatted or fixed)


def audit() -> None:
    """Look for known vulnerabilities in the dependencies, and list these in `sbom.json` (CycloneDX)."""
    uv = os.environ.get("UV", "uv")
    OWN.mkdir(exist_ok=True)
    requirements = str(OWN / "requirements.txt")
    export = [uv, "export", "--quiet", "--no-dev"]
    inventory = [*export, "--format", "cyclonedx1.5", "--output-file", "sbom.json"]
    listing = [*export, "--no-emit-project", "--output-file", requirements]
    auditor = [uv, "tool", "run", "pip-audit>=2.10", "--requirement", requirements]
    auditor += ["--disable-pip", "--require-hashes"]
    for command in (inventory, listing, auditor):
        code = subprocess.run(command, check=False, cwd=ROOT).returncode
        if code:
            sys.exit(code)
