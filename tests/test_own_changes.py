"""What a team changes in its own rooms breaks none of the tests that came with the service."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import ENVIRONMENT
from tests.support.template import Render

ESCAPES = "tests/integration/test_escapes.py"
OWN_ERROR = '''

class QuotaExceededError(APIError):
    """The customer has used up the quota."""

    status_code = 429
    detail = "Try again tomorrow."
    level = logging.WARNING
'''


def substitute(file: Path, pattern: str, replacement: str) -> None:
    """Replace the only match of a pattern in a file."""
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert count == 1, f"{pattern} is {count} times in {file}"
    file.write_text(text, encoding="utf-8")


def compress_responses(service: Path) -> None:
    """Add a middleware that compresses every response."""
    main = service / "src" / "main.py"
    layer = "    app.add_middleware(GZipMiddleware, minimum_size=0)\n"
    substitute(main, r"(\ndef create_app\(.*?\n)(    return app\n)", rf"\1{layer}\2")
    substitute(
        main,
        r"\nfrom fastapi import FastAPI\n",
        r"\g<0>from fastapi.middleware.gzip import GZipMiddleware\n",
    )


def allow_large_bodies(service: Path) -> None:
    """Raise the default of the largest body that is accepted."""
    config = service / "src" / "config.py"
    substitute(config, r"(    max_body_size: [^\n]*)1_000_000\b", r"\g<1>10_000_000")


def add_error_with_level(service: Path) -> None:
    """Add an own error that is logged as a warning."""
    errors = service / "src" / "utils" / "errors.py"
    text = errors.read_text(encoding="utf-8")
    errors.write_text(f"{text}{OWN_ERROR}", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "tests"),
    [
        (compress_responses, ["tests/integration/test_http.py", ESCAPES]),
        (allow_large_bodies, [ESCAPES]),
        (add_error_with_level, ["tests/unit/test_errors.py"]),
    ],
)
def test_inherited_tests_pass(render: Render, change: object, tests: list[str]) -> None:
    """The tests pin their settings and layers, so they pass after a change of either."""
    service = render(example="none", stores=[])
    assert callable(change)
    change(service)
    command = [sys.executable, "-m", "dev", "test", "-q", "--numprocesses=0", *tests]
    done = subprocess.run(
        command,
        cwd=service,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:]
