"""The commands of `python -m dev`; each has a target of the same name in the Makefile."""

import sys
from pkgutil import resolve_name

from dotenv import load_dotenv

from dev import ROOT

COMMANDS = {
    "dev": "dev.service:run",
    "test": "dev.checks:test",
    "lint": "dev.checks:lint",
    "format": "dev.checks:format_code",
    "request": "dev.requests:send_good",
    "bad-request": "dev.requests:send_bad",
    # copier: if "postgres" in stores
    "resource": "dev.resource.command:run",
    "migration": "dev.database:add_migration",
    "migrate": "dev.database:migrate",
    "rollback": "dev.database:rollback",
    "psql": "dev.psql:run",
    "backup": "dev.backup:backup",
    "restore": "dev.backup:restore",
    # copier: endif
    # copier: if "redis" in stores
    "redis-cli": "dev.redis_cli:run",
    # copier: endif
    # copier: if example == "orders"
    "worker": "dev.worker:run",
    "replay": "dev.worker:replay",
    # copier: endif
    # copier: if auth == "api_key"
    "api-key": "dev.api_keys:run",
    # copier: endif
    # copier: if auth == "jwt"
    "token": "dev.issuer:print_token",
    # copier: endif
    "run": "dev.programs:run_or_exit",
    "audit": "dev.checks:audit",
    "up": "dev.containers:up",
    "down": "dev.containers:down",
    # copier: if stores
    "down-all": "dev.containers:down_all",
    # copier: endif
}


def load_env_file() -> None:
    """Add what `.env` says to the environment."""
    try:
        load_dotenv(ROOT / ".env", encoding="utf-8-sig")
    except ValueError:
        sys.exit(".env is not UTF-8 text: save it as UTF-8")
    except OSError as exc:
        sys.exit(f".env cannot be read: {exc.strerror}")


def main(name: str = "", *arguments: str) -> None:
    """Run a command by its name."""
    if name not in COMMANDS:
        sys.exit(f"usage: python -m dev {'|'.join(COMMANDS)}")
    load_env_file()
    resolve_name(COMMANDS[name])(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
