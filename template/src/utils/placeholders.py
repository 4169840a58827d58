"""Words from examples that are no secrets."""

import re

PLACEHOLDERS = {
    "admin",
    "app",
    "changeme",
    "default",
    "example",
    "pass",
    "password",
    # copier: if "postgres" in stores
    "postgres",
    # copier: endif
    # copier: if "redis" in stores
    "redis",
    # copier: endif
    "root",
    "secret",
    "test",
    "token",
}


def is_placeholder(secret: str) -> bool:
    """Return whether a secret is a word from an example, in any spelling."""
    return re.sub(r"[^a-z0-9]", "", secret.lower()) in PLACEHOLDERS
