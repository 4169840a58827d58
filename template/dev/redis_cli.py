"""redis-cli on the Redis of the environment, or on that of `make dev`."""

import shutil
import sys
from urllib.parse import unquote, urlsplit

from dev import OWN, stores
from dev.programs import run_prompt, without_password


def run(*arguments: str) -> None:
    """Run redis-cli; takes what redis-cli takes."""
    program = shutil.which("redis-cli")
    if program is None:
        sys.exit("there is no redis-cli here: install Debian's redis-tools, or Homebrew's redis")
    with stores.settings(OWN) as settings:
        address = urlsplit(str(settings.redis_url.get_secret_value()))
        env = {"REDISCLI_AUTH": unquote(address.password or "")}
        run_prompt([program, "-u", without_password(address), *arguments], env)
