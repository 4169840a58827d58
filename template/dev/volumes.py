"""The volumes of the containers."""

import json
import sys

from dev.compose import docker


def require_new_volume(volume: str, password: str) -> None:
    """End the process with one line if a volume exists already, of which the password is lost.

    Args:
        volume: its name in `compose.yaml`.
        password: the name of the variable that holds the password.
    """
    config = docker("compose", "config", "--format", "json")
    if config.returncode:
        sys.exit(config.stderr.strip())
    name = json.loads(config.stdout)["volumes"][volume]["name"]
    if docker("volume", "inspect", name).returncode == 0:
        sys.exit(
            f"the {volume} volume of the containers has a password that .env no longer holds: "
            f"put it back as {password}, or delete the volume with `make down-all`"
        )
