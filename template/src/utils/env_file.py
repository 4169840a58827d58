"""The file `.env`, from which settings are read besides the environment."""

from pathlib import Path

ENV_FILE = Path(".env")
ENCODING = "utf-8-sig"  # UTF-8, also with the mark that Windows puts in front
NOT_TEXT = ".env is not UTF-8 text: save it as UTF-8"


def find_problem() -> str | None:
    """Return why `.env` cannot be read as text, and how to fix it; None if it can, or is not there."""
    try:
        if ENV_FILE.is_file() and "\0" in ENV_FILE.read_text(encoding=ENCODING):
            return NOT_TEXT
    except UnicodeDecodeError:
        return NOT_TEXT
    except OSError as exc:
        return f".env cannot be read: {exc.strerror}"
    return None
