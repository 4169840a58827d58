"""psql on the database of the environment, or on that of `make dev`."""

from urllib.parse import unquote, urlsplit

from dev import OWN, stores
from dev.postgres import find_psql
from dev.programs import run_prompt, without_password
from src.utils.postgres_url import postgres_options


def run(*arguments: str) -> None:
    """Run psql; takes what psql takes."""
    with stores.settings(OWN) as settings:
        url = str(settings.database_url.get_secret_value())
        address = urlsplit(postgres_options(url).dsn)
        env = {"PGPASSWORD": unquote(address.password or "")}
        run_prompt([find_psql(), without_password(address), *arguments], env)
