"""The service in containers, with Docker Compose: `compose.yaml` says how."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if "postgres" in stores
import json
# copier: endif
import os
# copier: if stores
import secrets
# copier: endif
import shutil
import socket
import subprocess
import sys
from pathlib import Path

# copier: if false
# isort: on
# fmt: on
# copier: endif
ROOT = Path(__file__).resolve().parents[1]
DOCKER = shutil.which("docker") or "docker"
# copier: if stores
ENV_FILE = ROOT / ".env"
PASSWORDS = [
    # copier: if "postgres" in stores
    "POSTGRES_PASSWORD",
    # copier: endif
    # copier: if "redis" in stores
    "REDIS_PASSWORD",
    # copier: endif
]
# copier: endif
CHECK = ("run", "--rm", "--no-deps", "--no-TTY", "service", "python", "-c", "import src.main")


def up() -> None:
    """Build the image, start everything, and return when all is healthy."""
    require_engine()
    # copier: if stores
    make_up_passwords()
    # copier: endif
    if code := _compose("config", "--quiet"):
        sys.exit(code)
    require_free_port()
    if _compose("build", "service"):
        sys.exit("the image could not be built; the reason stands above")
    if code := _compose(*CHECK):
        sys.exit(code)
    if _compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "120"):
        _compose("logs", "--tail", "5")
        sys.exit(
            "not all is healthy; the last lines of each log stand above, `docker compose logs` shows the rest"
        )
    # copier: if "postgres" in stores
    print(
        f"PostgreSQL: {_ask('port', 'postgres', '5432')}, user and database app, password in .env"
    )
    # copier: endif
    # copier: if "redis" in stores
    print(f"Redis:      {_ask('port', 'redis', '6379')}, password in .env")
    # copier: endif
    print(
        f"Service:    http://{_ask('port', 'service', '8000')} (/docs describes it; `make down` ends it)"
    )


def down() -> None:
    """Stop and remove the containers; data stays."""
    require_engine()
    # copier: if stores
    _fill_in_passwords()
    # copier: endif
    sys.exit(_compose("down"))


# copier: if stores
def down_all() -> None:
    """Stop and remove the containers, and what they have stored, if that is confirmed."""
    require_engine()
    _fill_in_passwords()
    print(
        "This deletes all that the stores in containers hold. Type yes to go on: ",
        end="",
        flush=True,
    )
    if sys.stdin.readline().strip() != "yes":
        sys.exit("nothing was deleted")
    sys.exit(_compose("down", "--volumes"))


# copier: endif
def require_engine() -> None:
    """Make sure that Docker and Compose are there; ends the process with one line if not."""
    if not shutil.which(DOCKER):
        sys.exit(
            "there is no `docker` here: install Docker Engine or Docker Desktop, or use `make dev`"
        )
    if _run("compose", "version").returncode:
        sys.exit("`docker compose` is missing: install the Compose plugin, version 2.24 or newer")
    asked = _run("ps", "--quiet")
    if asked.returncode:
        sys.exit(
            f"no Docker engine answers: start it, or use `make dev` ({' '.join(asked.stderr.split())})"
        )


def require_free_port() -> None:
    """Make sure that nobody else listens where the service is to; ends the process with one line if not."""
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    with socket.socket() as client:
        client.settimeout(1)
        taken = not client.connect_ex((host, int(port)))
    if taken and not _ask("port", "service", "8000").endswith(f":{port}"):
        sys.exit(
            f"port {port} is taken: end what listens there, or put another one as PORT into .env"
        )


# copier: if stores
def make_up_passwords() -> None:
    """Add the passwords that neither `.env` nor the environment has to `.env`."""
    missing = [name for name in PASSWORDS if not os.environ.get(name)]
    if not missing:
        return
    # copier: if "postgres" in stores
    _fill_in_passwords()
    config = _run("compose", "config", "--format", "json")
    if config.returncode:
        sys.exit(config.stderr.strip())
    volume = json.loads(config.stdout)["volumes"]["postgres"]["name"]
    if "POSTGRES_PASSWORD" in missing and not _run("volume", "inspect", volume).returncode:
        sys.exit(
            "the database in containers has a password that .env no longer holds: "
            "put it back as POSTGRES_PASSWORD, or delete that database with `make down-all`"
        )
    # copier: endif
    made_up = {name: secrets.token_urlsafe(24) for name in missing}
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.chmod(0o600)
    before = ENV_FILE.read_text(encoding="utf-8")
    lines = [
        "# made up for the containers' stores",
        *(f"{name}={value}" for name, value in made_up.items()),
        "",
    ]
    with ENV_FILE.open("a", encoding="utf-8", newline="\n") as file:
        file.write("\n" * (before != "" and not before.endswith("\n")) + "\n".join(lines))
    os.environ |= made_up
    print(f"made up {' and '.join(missing)}, see .env", flush=True)


def _fill_in_passwords() -> None:
    """Give each missing password some value, since Compose asks for them even where it does not use them."""
    for name in PASSWORDS:
        os.environ[name] = os.environ.get(name) or "unused"


# copier: endif
def _compose(*arguments: str) -> int:
    """Run `docker compose`, showing what it says, and return its exit code."""
    return subprocess.run([DOCKER, "compose", *arguments], cwd=ROOT, check=False).returncode


def _ask(*arguments: str) -> str:
    """Return the answer of `docker compose`, empty where it fails."""
    return _run("compose", *arguments).stdout.strip()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


COMMANDS = {"up": up, "down": down}
# copier: if stores
COMMANDS["down-all"] = down_all
# copier: endif
