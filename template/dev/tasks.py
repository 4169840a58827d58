"""The commands of `python -m dev`; each has a target of the same name in the Makefile."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import uvicorn
from dotenv import load_dotenv

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if stores and example != "orders"
from dev import stores
# copier: endif
# copier: if example == "orders"
from dev import stores, worker
# copier: endif
from dev.containers import COMMANDS as IN_CONTAINERS
from src.airtight.logging import configure_logging
from src.config import ENCODING, SERVICE_NAME, check_env_file, load_settings

# copier: if false
# isort: on
# fmt: on
# copier: endif
Request = tuple[str, str, object]  # method, path, body
# copier: if example == "none"
GOOD: Request = ("GET", "/health/ready", None)
BAD: Request = ("GET", "/no-such-path", None)
# copier: endif
# copier: if example == "decisions"
APPLICATION = {
    "checking_account": "none",
    "duration_months": 24,
    "credit_history": "paid_so_far",
    "purpose": "used_car",
    "amount": 3500,
    "savings": "below_500",
    "employment": "below_7_years",
    "installment_rate": 2,
}
GOOD: Request = ("POST", "/decisions", APPLICATION)
BAD: Request = ("POST", "/decisions", APPLICATION | {"amount": -1, "purpose": "yacht"})
# copier: endif
# copier: if example == "orders"
ORDER = {
    "items": [
        {"name": "tea", "quantity": 2, "price": "3.50"},
        {"name": "pot", "quantity": 1, "price": "19.90"},
    ]
}
GOOD: Request = ("POST", "/orders", ORDER)
BAD: Request = ("POST", "/orders", {"items": [{"name": "tea", "quantity": 0, "price": "a lot"}]})
# copier: endif
ROOT = Path(__file__).resolve().parents[1]


def run(program: str, *arguments: str) -> None:
    """Run a program of the project's environment; if it fails, end with its exit code."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    if code := subprocess.run(command, check=False, cwd=ROOT).returncode:
        sys.exit(code)


def dev() -> None:
    """Run the service, reloading, until Ctrl-C."""
    os.environ.setdefault("LOG_FORMAT", "console")
    with contextlib.ExitStack() as stack:
        stack.callback(print, "stopped")
        # copier: if stores
        urls = stack.enter_context(stores.running(stores.OWN))
        os.environ |= urls
        settings = load_settings()
        # copier: endif
        # copier: if "postgres" in stores
        postgres = settings.database_url.get_secret_value().hosts()[0]
        own = ", its own, in .dev/" if "DATABASE_URL" in urls else ""
        print(f"PostgreSQL: {postgres['host']}:{postgres['port']}{own}", flush=True)
        migrate()
        # copier: endif
        # copier: if "redis" in stores
        redis = settings.redis_url.get_secret_value()
        own = ", its own, in .dev/" if "REDIS_URL" in urls else ""
        print(f"Redis:      {redis.host}:{redis.port}{own}", flush=True)
        # copier: endif
        # copier: if example == "orders"
        stack.enter_context(worker.running())
        # copier: endif
        _serve()


def _serve() -> None:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, SERVICE_NAME)
    host, port = settings.host, settings.port
    print(f"Service:    http://{host}:{port} (/docs describes it; Ctrl-C ends it)", flush=True)
    if settings.environment == "development":
        print(f"Failures:   http://{host}:{port}/debug/errors", flush=True)
    uvicorn.run(
        "src.main:app", host=host, port=port, reload=True, reload_dirs=["src"], log_config=None
    )


def test(*arguments: str) -> None:
    """Run the tests, on real stores; takes what pytest takes."""
    run("pytest", *(arguments or ("--cov",)))


def lint() -> None:
    """Check format, rules, types and imports."""
    run("ruff", "format", "--check", ".")
    run("ruff", "check", ".")
    run("mypy")
    run("lint-imports")
    run("python", "-m", "dev.house_rules", "src")


def audit() -> None:
    """Look for known weaknesses in the dependencies, and list these in `sbom.json`, in the form of CycloneDX."""
    uv, folder = os.environ.get("UV", "uv"), ROOT / ".dev"
    folder.mkdir(exist_ok=True)
    listed = str(folder / "requirements.txt")
    for arguments in (
        ["export", "--quiet", "--no-dev", "--format", "cyclonedx1.5", "--output-file", "sbom.json"],
        ["export", "--quiet", "--no-dev", "--no-emit-project", "--output-file", listed],
        [
            "tool",
            "run",
            "pip-audit>=2.10",
            "--requirement",
            listed,
            "--disable-pip",
            "--require-hashes",
        ],
    ):
        if code := subprocess.run([uv, *arguments], check=False, cwd=ROOT).returncode:
            sys.exit(code)


def fmt() -> None:
    """Format, and mend what can be mended."""
    run("ruff", "format", ".")
    run("ruff", "check", "--fix", ".")


# copier: if "postgres" in stores
def migrate() -> None:
    """Bring the database to the newest version."""
    run("alembic", "upgrade", "head")


# copier: endif
def request() -> None:
    """Send a good request to the running service."""
    _send(*GOOD)


def bad_request() -> None:
    """Send a request that is not valid."""
    _send(*BAD)


def _send(method: str, path: str, body: object) -> None:
    settings = load_settings()
    url = f"http://{settings.host}:{settings.port}{path}"
    try:
        response = httpx2.request(method, url, json=body, timeout=10)
    except httpx2.TransportError as exc:
        sys.exit(
            f"nothing answers on {url} ({type(exc).__name__}); start the service with `make dev`"
        )
    print(
        f"{method} {url}\n{response.http_version} {response.status_code} {response.reason_phrase}"
    )
    for name in ("content-type", "location", settings.request_id_header):
        if name in response.headers:
            print(f"{name.lower()}: {response.headers[name]}")
    print(f"\n{response.text}")


COMMANDS = {
    "dev": dev,
    "test": test,
    "lint": lint,
    "format": fmt,
    "request": request,
    "bad-request": bad_request,
}
# copier: if "postgres" in stores
COMMANDS["migrate"] = migrate
# copier: endif
COMMANDS |= {"audit": audit, **IN_CONTAINERS}
# copier: if example == "orders"
COMMANDS |= {"worker": worker.run, "replay": worker.replay}
# copier: endif

if __name__ == "__main__":
    check_env_file()
    load_dotenv(ROOT / ".env", encoding=ENCODING)
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        sys.exit(f"usage: python -m dev {'|'.join(COMMANDS)}")
    COMMANDS[name](*sys.argv[2:])
