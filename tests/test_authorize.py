"""Where callers have to be known, `make dev`, `make request` and `/docs` work out of the box."""

import contextlib
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.browser import NAMES, Tab, browser
from tests.support.files import read
from tests.support.services import make, served
from tests.support.template import Render

CDN = "cdn.jsdelivr.net"
PACKAGE = "swagger-ui-dist@5.35.0"
PROGRAMS = (
    "npm",
    "openssl",
)
BUTTON = ".btn.authorize"
FIELD = ".auth-container input"
OPERATION = ".opblock-post .opblock-summary-control"
STATUS = ".live-responses-table tbody .response-col_status"
TYPE = """
    (() => {
        const field = document.querySelector(".auth-container input");
        const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
        value.set.call(field, TEXT);
        field.dispatchEvent(new Event("input", {bubbles: true}));
    })()
"""


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve the files of the page by https, as its CDN does; yields the port."""
    if not any(map(shutil.which, NAMES)) or not all(map(shutil.which, PROGRAMS)):
        pytest.skip("needs chromium, npm and openssl")
    folder = tmp_path_factory.mktemp("cdn")
    run(folder, "npm", "pack", "--silent", PACKAGE)
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    certificate = ("-subj", f"/CN={CDN}", "-keyout", "key.pem", "-out", "cert.pem")
    run(folder, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate)
    with serving(folder) as port:
        yield port


def run(folder: Path, *command: str) -> None:
    """Run a program in a folder."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve the files of the package in a folder; yields the port."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(folder / "package" / Path(path).name)

        def end_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "*")
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def click(tab: Tab, selector: str) -> None:
    """Click on an element as soon as it is there."""
    element = f"document.querySelector({json.dumps(selector)})"
    tab.until(f"!!{element}")
    tab.run(f"{element}.click()")


def authorize(tab: Tab, secret: str) -> None:
    """Enter a secret where the page asks for it."""
    click(tab, BUTTON)
    tab.until(f"!!document.querySelector({json.dumps(FIELD)})")
    tab.run(TYPE.replace("TEXT", json.dumps(secret)))
    click(tab, ".auth-btn-wrapper .authorize")
    click(tab, ".auth-btn-wrapper .btn-done")


def try_out(tab: Tab) -> str:
    """Send the example of the first operation that creates something; return the status."""
    for selector in (OPERATION, ".try-out__btn", ".execute"):
        click(tab, selector)
    return str(tab.until(f"document.querySelector({json.dumps(STATUS)})?.innerText.trim()"))


def read_secret(folder: Path, kind: str) -> str:
    """Return by what the developer is known."""
    if kind == "api_key":
        return read(folder / ".dev/api-key")
    return make(folder, "token").splitlines()[-1]


@pytest.mark.parametrize("kind", ["api_key", "jwt"])
def test_developer_is_known_out_of_the_box(
    render: Render, cdn: int, tmp_path: Path, kind: str
) -> None:
    """A good request is a 201 by the command and by the page, and a 401 without credentials."""
    folder = render(auth=kind)
    options = ("--ignore-certificate-errors", f"--host-resolver-rules=MAP {CDN} 127.0.0.1:{cdn}")
    with served(folder) as service, browser(tmp_path / "profile", *options) as tab:
        port = str(service.port)
        url = f"http://127.0.0.1:{port}"
        assert httpx2.post(f"{url}/decisions", json={}).status_code == 401
        assert " 201 Created" in make(folder, "request", PORT=port)
        assert "subject=developer" in service.read_log()
        secret = read_secret(folder, kind)
        tab.open(f"{url}/docs")
        authorize(tab, secret)
        assert try_out(tab) == "201"
        assert secret not in service.read_log()
