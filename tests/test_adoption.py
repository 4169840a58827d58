"""`src/airtight/` works in a FastAPI service that was written without it, as its page says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.services import ENVIRONMENT, free_port, run, wait_until
from tests.support.template import ROOT, render_into

PLAIN = '''"""A shop, written without any of this."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.stock = {}
    yield


app = FastAPI(title="Shop", lifespan=lifespan)


def crash() -> float:
    return 1 / 0


@app.get("/crash")
async def crash_in_endpoint() -> float:
    return crash()


@app.get("/items/{number}")
async def item(number: int) -> None:
    raise HTTPException(404, "There is no such item.")


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(crash)
    return "accepted"


@app.get("/thread")
async def thread() -> str:
    asyncio.get_running_loop().run_in_executor(None, crash)
    return "accepted"


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "one"
        crash()

    return StreamingResponse(parts())
'''


# What the page says, and where it belongs in this service.
CHANGES = [
    (
        "from fastapi.responses import StreamingResponse\n",
        """from fastapi.responses import StreamingResponse

from shop.airtight import AirtightAPI, configure_logging, report_lifespan_errors

configure_logging("info", "json")
""",
    ),
    ("    yield\n\n\napp", "    async with report_lifespan_errors():\n        yield\n\n\napp"),
    (
        'app = FastAPI(title="Shop", lifespan=lifespan)',
        'app = AirtightAPI(title="Shop", lifespan=lifespan)',
    ),
]
CRASH = ["CRITICAL ZeroDivisionError"]


@dataclass(frozen=True)
class Shop:
    """The changed service, while it runs.

    Attributes:
        url: at which it listens.
        log: the file with what it writes to stdout and stderr.
    """

    url: str
    log: Path

    def records(self, correlation_id: str, count: int) -> list[dict[str, Any]]:
        """Wait until a request has so many records, and return them."""
        wait_until(lambda: len(self._records(correlation_id)) >= count)
        return self._records(correlation_id)

    def _records(self, correlation_id: str) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [record for record in records if record["correlation_id"] == correlation_id]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, snapshot: Path) -> Iterator[Shop]:
    """Run the changed service, which has nothing of a render but the two things copied."""
    folder = tmp_path_factory.mktemp("adoption")
    rendered = folder / "rendered"
    render_into(rendered, snapshot, {"example": "none", "stores": [], "observability": []})
    installed = run(rendered, sys.executable, "-m", "dev", "run", "python", "--version")
    assert installed.returncode == 0, installed.stdout
    package = folder / "shop"
    shutil.copytree(rendered / "src" / "airtight", package / "airtight")
    (package / "utils").mkdir()
    shutil.copy(rendered / "src" / "utils" / "errors.py", package / "utils")
    (package / "app.py").write_text(changed(PLAIN), encoding="utf-8")
    port = free_port()
    log = folder / "log"
    python = rendered / ".venv" / "bin" / "python"
    command = [str(python), "-m", "uvicorn", "shop.app:app", "--port", str(port)]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file)
    with process:
        wait_until(lambda: "Application startup complete" in log.read_text(encoding="utf-8"))
        yield Shop(f"http://127.0.0.1:{port}", log)
        process.terminate()


def changed(plain: str) -> str:
    """Return the service with the changes that the page asks for."""
    for old, new in CHANGES:
        assert old in plain
        plain = plain.replace(old, new)
    return plain


def test_page_says_what_to_change() -> None:
    """Each line that a service needs is in the documentation."""
    section = (ROOT / "docs" / "adopting.md").read_text(encoding="utf-8")
    for old, new in CHANGES:
        added = [line.strip() for line in new.splitlines() if line not in old.splitlines()]
        for line in added:
            assert line in section


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/crash", 500, CRASH),
        ("/items/1", 404, []),
        ("/items/one", 422, ["WARNING RequestValidationError"]),
        ("/missing", 404, []),
        ("/background", 200, CRASH),
        ("/thread", 200, CRASH),
        ("/stream", 200, CRASH),
    ],
)
def test_failure_has_one_record_and_the_id(
    shop: Shop, path: str, status: int, expected: list[str]
) -> None:
    """Each failure has its response, and one record with the id, from the shop's own frames on."""
    request_id = f"request-for-{path[1:]}"
    with httpx2.stream(
        "GET", f"{shop.url}{path}", headers={"X-Request-ID": request_id}
    ) as response:
        assert response.status_code == status
        assert response.headers["x-request-id"] == request_id
        if path == "/stream":
            with pytest.raises(httpx2.RemoteProtocolError):
                response.read()
    records = shop.records(request_id, len(expected) + 1)
    failures = [record for record in records if record["logger"] != "access"]
    assert [f"{record['level']} {record['error']}" for record in failures] == expected
    assert len(records) == len(expected) + 1
    for record in failures:
        if record["level"] == "CRITICAL":
            first_frame = record["exception"].splitlines()[1]
            assert "shop/app.py" in first_frame
