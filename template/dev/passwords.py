"""Passwords of the stores in containers, which `.env` holds."""

import os
import secrets

from dev import (
    ROOT,
    # copier: if "postgres" in stores
    volumes,
    # copier: endif
)

ENV_FILE = ROOT / ".env"
PASSWORDS = [
    # copier: if "postgres" in stores
    "POSTGRES_PASSWORD",
    # copier: endif
    # copier: if "redis" in stores
    "REDIS_PASSWORD",
    # copier: endif
]


def make_up_passwords() -> None:
    """Add the passwords that neither `.env` nor the environment has to `.env`."""
    missing = [name for name in PASSWORDS if not os.environ.get(name)]
    if not missing:
        return
    # copier: if "postgres" in stores
    if "POSTGRES_PASSWORD" in missing:
        fill_in_passwords()
        volumes.require_new_volume("postgres", "POSTGRES_PASSWORD")
    # copier: endif
    passwords = {name: secrets.token_urlsafe(24) for name in missing}
    append_to_env_file(passwords)
    os.environ |= passwords
    print(f"made up {' and '.join(missing)}, see .env", flush=True)


def append_to_env_file(passwords: dict[str, str]) -> None:
    """Add passwords to `.env`, which only its owner may read."""
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.chmod(0o600)
    before = ENV_FILE.read_text(encoding="utf-8")
    lines = ["# made up for the containers' stores"]
    lines += [f"{name}={value}" for name, value in passwords.items()]
    with ENV_FILE.open("a", encoding="utf-8", newline="\n") as file:
        if before and not before.endswith("\n"):
            file.write("\n")
        file.write("\n".join([*lines, ""]))


def fill_in_passwords() -> None:
    """Give missing passwords some value, since Compose needs one even where it does not use it."""
    for name in PASSWORDS:
        os.environ[name] = os.environ.get(name) or "unused"
