"""Workers for development, and a tax office for them where the environment names none."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

from dev import OWN, ROOT, stores
from dev.database import upgrade
from dev.ports import LOOPBACK, free_port

TAX_OFFICE = "tests.support.tax_office"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Run a worker beside the service, reloading."""
    command = f'"{sys.executable}" -m src.worker'
    reloader = ("-m", "watchfiles", "--filter", "python", command, "src")
    with ensure_tax_office(), _python(*reloader):
        print("Worker:     one, beside the service", flush=True)
        yield


def run(*arguments: str) -> None:
    """Run one worker more, beside that of `make dev`, until Ctrl-C."""
    os.environ.setdefault("LOG_FORMAT", "console")
    with stores.running(OWN) as urls, contextlib.suppress(KeyboardInterrupt):
        os.environ |= urls
        upgrade()
        with ensure_tax_office(), _python("-m", "src.worker", *arguments) as process:
            exit_code = process.wait()
            if exit_code:
                sys.exit(exit_code)


def replay() -> None:
    """Have the orders that were given up announced again."""
    run("replay")


@contextlib.contextmanager
def ensure_tax_office() -> Iterator[None]:
    """Run a tax office, unless the environment names one, and print receipts into `.dev`."""
    if os.environ.get("TAX_OFFICE_URL"):
        yield
        return
    with tax_office(OWN / "tax_office") as url:
        os.environ["TAX_OFFICE_URL"] = url
        os.environ.setdefault("RECEIPTS_FOLDER", str(OWN / "receipts"))
        print(f"Tax office: {url}, its own; receipts are in .dev/receipts/", flush=True)
        yield


@contextlib.contextmanager
def tax_office(folder: Path) -> Iterator[str]:
    """Run a tax office and yield its URL; one that runs already is joined.

    Args:
        folder: where it stores what it has registered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "url"
    running_at = _find(address)
    if running_at:
        yield running_at
        return
    port = free_port()
    book = folder / "registered"
    with _python("-m", TAX_OFFICE, str(port), str(book), stdout=subprocess.PIPE) as process:
        if process.stdout is None or not process.stdout.readline():
            sys.exit("the tax office did not start; set TAX_OFFICE_URL to one that you run")
        url = f"http://{LOOPBACK}:{port}"
        address.write_text(url, encoding="ascii")
        yield url


def _find(address: Path) -> str | None:
    """Return the URL of a tax office that runs already, if there is one."""
    if not address.exists():
        return None
    url = address.read_text(encoding="ascii")
    try:
        httpx2.get(url, timeout=1)
    except httpx2.TransportError:
        return None
    return url


@contextlib.contextmanager
def _python(*arguments: str, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python beside this process, out of reach of Ctrl-C, and stop it in the regular way."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait()
