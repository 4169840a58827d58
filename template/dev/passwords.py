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


def make_up_passwords() -> dict[str, str]:
    """Return passwords for those that are missing, by name, and add them to the environment."""
    missing = [name for name in PASSWORDS if not os.environ.get(name)]
    made_up = {name: secrets.token_urlsafe(24) for name in missing}
    os.environ |= made_up
    # copier: if "postgres" in stores
    if "POSTGRES_PASSWORD" in made_up:
        volumes.require_new_volume("postgres", "POSTGRES_PASSWORD")
    # copier: endif
    return made_up


def save(made_up: dict[str, str]) -> None:
    """Add passwords to `.env`, by their names."""
    if made_up:
        env_file.append(made_up, "made up for the containers' stores")
        print(f"made up {' and '.join(made_up)}, see .env", flush=True)


def fill_in_passwords() -> None:
    """Give missing passwords some value, since Compose needs one even where it does not use it."""
    for name in PASSWORDS:
        os.environ[name] = os.environ.get(name) or "unused"
