"""Workers for development, and a tax office for them where the environment names none."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

from dev import stores
from dev.ports import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Run a worker beside the service, reloading."""
    with (
        offered_tax_office(),
        _process(
            "-m", "watchfiles", "--filter", "python", f'"{sys.executable}" -m src.worker', "src"
        ),
    ):
        print("Worker:     one, beside the service", flush=True)
        yield


def run(*arguments: str) -> None:
    """Run one worker more, beside that of `make dev`, until Ctrl-C."""
    os.environ.setdefault("LOG_FORMAT", "console")
    with stores.running(stores.OWN) as urls, contextlib.suppress(KeyboardInterrupt):
        os.environ |= urls
        subprocess.run(
            [Path(sys.executable).with_name("alembic"), "upgrade", "head"], cwd=ROOT, check=True
        )
        with offered_tax_office(), _process("-m", "src.worker", *arguments) as process:
            if code := process.wait():
                sys.exit(code)


def replay() -> None:
    """Have the workers handle the dead letters again."""
    run("replay")


@contextlib.contextmanager
def offered_tax_office() -> Iterator[None]:
    """Run a tax office unless the environment names one, and print receipts beside what it keeps."""
    with contextlib.ExitStack() as stack:
        if not os.environ.get("TAX_OFFICE_URL"):
            os.environ["TAX_OFFICE_URL"] = stack.enter_context(
                tax_office(stores.OWN / "tax_office")
            )
            os.environ.setdefault("RECEIPTS_FOLDER", str(stores.OWN / "receipts"))
            print(
                f"Tax office: {os.environ['TAX_OFFICE_URL']}, its own; receipts are in .dev/receipts/",
                flush=True,
            )
        yield


@contextlib.contextmanager
def tax_office(folder: Path) -> Iterator[str]:
    """Run a tax office that keeps in `folder` what it has registered, and give its URL; one that runs is joined."""
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "url"
    if address.exists():
        with contextlib.suppress(httpx2.TransportError):
            yield str(httpx2.get(address.read_text(encoding="ascii"), timeout=1).url).rstrip("/")
            return
    port = free_port()
    with _process(
        "-m", "tests.support.tax_office", str(port), str(folder / "registered")
    ) as process:
        if process.stdout is None or not process.stdout.readline():
            sys.exit(
                "the tax office did not start; set TAX_OFFICE_URL to one that you run yourself"
            )
        address.write_text(f"http://{LOOPBACK}:{port}", encoding="ascii")
        yield f"http://{LOOPBACK}:{port}"


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python beside this process, out of the reach of Ctrl-C, and end it in the regular way."""
    stdout = subprocess.PIPE if "tests.support.tax_office" in arguments else None
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait()
