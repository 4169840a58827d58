"""Passwords of the stores in containers, which `.env` holds."""

import os
import secrets

from dev import (
    env_file,
    # copier: if "postgres" in stores
    volumes,
    # copier: endif
)

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
    env_file.append(passwords, "made up for the containers' stores")
    os.environ |= passwords
    print(f"made up {' and '.join(missing)}, see .env", flush=True)


def fill_in_passwords() -> None:
    """Give missing passwords some value, since Compose needs one even where it does not use it."""
    for name in PASSWORDS:
        os.environ[name] = os.environ.get(name) or "unused"
