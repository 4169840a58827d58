"""The service in containers, with Docker Compose: `compose.yaml` describes them."""

import os
import shutil
import sys

from dev import (
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
    # copier: if stores
    passwords,
    # copier: endif
    ports,
)
from dev.compose import DOCKER, compose, compose_or_exit, docker, read_from_compose

CHECK = ("run", "--rm", "--no-deps", "--no-TTY", "service", "python", "-c", "import src.main")
START_TIMEOUT = 120  # seconds


def up() -> None:
    """Build the image, start everything, and return when all is healthy."""
    require_engine()
    # copier: if stores
    made_up = passwords.make_up_passwords()
    # copier: endif
    compose_or_exit("config", "--quiet")
    require_free_port()
    if compose("build", "service"):
        sys.exit("the image could not be built; the reason stands above")
    # copier: if stores
    passwords.save(made_up)  # before the first container has them
    # copier: endif
    # copier: if auth == "api_key"
    api_keys.make_up_key()
    # copier: endif
    compose_or_exit(*CHECK)
    if compose("up", "--detach", "--no-build", "--wait", f"--wait-timeout={START_TIMEOUT}"):
        compose("logs", "--tail", "5")
        sys.exit(
            "not all is healthy; the last lines of each log stand above, "
            "`docker compose logs` shows the rest"
        )
    show_addresses()


def show_addresses() -> None:
    """Print where everything listens."""
    # copier: if "postgres" in stores
    postgres = read_from_compose("port", "postgres", "5432")
    print(f"PostgreSQL: {postgres}, user and database app, password in .env")
    # copier: endif
    # copier: if "redis" in stores
    print(f"Redis:      {read_from_compose('port', 'redis', '6379')}, password in .env")
    # copier: endif
    service = read_from_compose("port", "service", "8000")
    print(f"Service:    http://{service} (/docs describes it; `make down` ends it)")


def down() -> None:
    """Stop and remove the containers; data stays."""
    require_engine()
    # copier: if stores
    passwords.fill_in_passwords()
    # copier: endif
    sys.exit(compose("down"))


# copier: if stores
def down_all() -> None:
    """Stop and remove the containers, and what they have stored, if that is confirmed."""
    require_engine()
    passwords.fill_in_passwords()
    question = "This deletes all that the stores in containers hold. Type yes to go on: "
    print(question, end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        sys.exit("nothing was deleted")
    sys.exit(compose("down", "--volumes"))


# copier: endif
def require_engine() -> None:
    """End the process with one line if Docker or Compose is missing."""
    if not shutil.which(DOCKER):
        sys.exit(
            "there is no `docker` here: install Docker Engine or Docker Desktop, or use `make dev`"
        )
    if docker("compose", "version").returncode:
        sys.exit("`docker compose` is missing: install the Compose plugin, version 2.24 or newer")
    done = docker("ps", "--quiet")
    if done.returncode:
        reason = " ".join(done.stderr.split())
        sys.exit(f"no Docker engine answers: start it, or use `make dev` ({reason})")


def require_free_port() -> None:
    """End the process with one line if somebody else listens where the service is to listen."""
    host = os.environ.get("HOST") or "127.0.0.1"
    port = os.environ.get("PORT") or "8000"
    if not ports.is_taken(host, int(port)):
        return
    if read_from_compose("port", "service", "8000").endswith(f":{port}"):
        return  # the service itself, which is replaced
    sys.exit(f"port {port} is taken: end what listens there, or put another one as PORT into .env")
