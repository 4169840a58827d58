"""The tables of the database."""

import os
import sys

from dev import OWN, stores
from dev.programs import run


def migrate() -> None:
    """Bring the database of the environment, or that of `make dev`, to the newest version."""
    with stores.running(OWN) as urls:
        os.environ |= urls
        upgrade()


def upgrade() -> None:
    """Apply the migrations that are missing; ends the process if that fails."""
    code = run("alembic", "upgrade", "head")
    if code:
        sys.exit(code)
