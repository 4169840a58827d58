"""Ports and passwords of the project's own stores."""

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def free_port(preferred: int = 0) -> int:
    """Return a port that nobody listens on.

    Args:
        preferred: is returned if nobody listens on it; 0 for any.
    """
    if preferred and not is_taken(LOOPBACK, preferred):
        return preferred
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def is_taken(host: str, port: int) -> bool:
    """Return whether somebody listens on a port."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def password_in(folder: Path) -> str:
    """Return the password of the store in a folder; the first call generates one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16), encoding="ascii")
    return file.read_text(encoding="ascii")
