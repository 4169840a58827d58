"""Keys of callers: made up here, and shown once; the service gets their hashes."""

import json
import os
import secrets
import sys

import pydantic

from dev import OWN, env_file
from src.config import load_settings
from src.utils.api_keys import ApiKeySettings, hash_key

USAGE = "usage: python -m dev api-key NAME [SCOPE ...]"
FILE = OWN / "api-key"  # of this machine's developer, for `make dev` and `make up`
DEVELOPER = "developer"


class KnownKeys(pydantic.BaseModel):
    """The setting, to check what is made up for it."""

    api_keys: ApiKeySettings


def run(name: str = "", *scopes: str) -> None:
    """Print a new key, and the line for the settings that has its hash."""
    if not name:
        sys.exit(USAGE)
    key = secrets.token_urlsafe(32)
    known = {other: one.model_dump() for other, one in load_settings().api_keys.items()}
    entry = known.setdefault(name, {"sha256": [], "scopes": []})
    entry["sha256"].append(hash_key(key))
    if scopes:
        entry["scopes"] = " ".join(scopes).split()
    value = to_json(known)
    print(f"The key of {name}, which nothing shows again: {key}")
    if len(entry["sha256"]) > 1:
        print("The old one holds, too, until its hash, the first one, is removed.")
    print(f"\nFor the settings of the service:\n\nAPI_KEYS={value}")


def settings_for(keys: dict[str, str], *scopes: str) -> dict[str, str]:
    """Return the setting for keys, by the names of their callers; all have the same scopes."""
    known = {name: {"sha256": hash_key(key), "scopes": scopes} for name, key in keys.items()}
    return {"API_KEYS": to_json(known)}


def to_json(known: object) -> str:
    """Return the value of the setting; ends the process if something in it is wrong."""
    value = json.dumps(known, separators=(",", ":"))
    try:
        KnownKeys.model_validate({"api_keys": value})
    except pydantic.ValidationError as exc:
        sys.exit("; ".join(error["msg"] for error in exc.errors()))
    return value


def developer_key() -> str:
    """Return the key in `API_KEY`, else that of who develops here, made up at the first call."""
    key = os.environ.get("API_KEY")
    if key:
        return key
    if not FILE.exists():
        OWN.mkdir(exist_ok=True)
        FILE.touch(mode=0o600)
        FILE.write_text(secrets.token_urlsafe(32), encoding="ascii")
    return FILE.read_text(encoding="ascii").strip()


def developer_setting() -> dict[str, str]:
    """Return the setting by which the developer may call, where the environment names no caller."""
    if os.environ.get("API_KEYS"):
        return {}
    return settings_for({DEVELOPER: developer_key()})


def let_developer_in() -> None:
    """Let the developer call the service of `make dev`, where no caller is set."""
    made_up = developer_setting()
    if made_up:
        os.environ |= made_up
        print("API key:    in .dev/api-key, for the header X-API-Key", flush=True)


def make_up_key() -> None:
    """Let the developer call the service in containers, where `.env` names no caller."""
    made_up = developer_setting()
    if made_up:
        env_file.append(made_up, "the hash of the key in .dev/api-key")
        os.environ |= made_up
        print("made up an API key, see .dev/api-key", flush=True)
