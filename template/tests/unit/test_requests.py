"""`requests.http` has the requests of `make request` and `make bad-request`."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from dev.requests import BAD, GOOD, ExampleRequest

FILE = Path(__file__).resolve().parents[2] / "requests.http"


def read_requests() -> list[ExampleRequest]:
    """Return the requests in the file."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("# "))
    found = []
    for block in re.split(r"(?m)^### .*$", text)[1:]:
        head, _, body = block.strip().partition("\n\n")
        method, url = head.splitlines()[0].split()
        content = json.loads(body) if body.strip() else None
        found.append(ExampleRequest(method, urlsplit(url).path, content))
    return found


def test_requests_are_those_of_the_commands() -> None:
    """An editor sends what the commands send."""
    requests = read_requests()
    assert GOOD in requests
    assert BAD in requests
