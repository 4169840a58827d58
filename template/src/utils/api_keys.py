"""The setting with the keys of callers: their hashes, so that who reads it cannot call."""

import hashlib
import json
import re
from collections import Counter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_settings import NoDecode

from src.utils.placeholders import PLACEHOLDERS

DIGEST = re.compile(r"[0-9a-f]{64}")
CALLER_NAME = re.compile(r"[\w.@:/-]{1,100}", re.ASCII)
SCOPE = re.compile(r"[!#-\[\]-~]{1,100}")  # as RFC 6749 has them
USAGE = "write a JSON object; `python -m dev api-key NAME` prints one"


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key; keys are random, so that a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


def split_digests(value: object) -> object:
    """Take one hash for a list of one."""
    return [value] if isinstance(value, str) else value


def check_digest(digest: str) -> str:
    """Refuse what is no SHA-256, such as the key itself."""
    if not DIGEST.fullmatch(digest):
        raise ValueError("sha256 is the hash of a key, 64 digits and letters from a to f")
    return digest


def check_scope(scope: str) -> str:
    """Refuse a scope that could not be told from two."""
    if not SCOPE.fullmatch(scope):
        raise ValueError("a scope has neither spaces nor quotes")
    return scope


class ApiKey(BaseModel):
    """What is known of a caller's key.

    Attributes:
        sha256: its hash; two while the caller changes to a new key.
        scopes: what the caller may do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[
        list[Annotated[str, AfterValidator(check_digest)]],
        BeforeValidator(split_digests),
        Field(min_length=1, repr=False),
    ]
    scopes: list[Annotated[str, AfterValidator(check_scope)]] = []


def read_keys(value: object) -> object:
    """Read keys from a JSON object."""
    if not isinstance(value, str):
        return value
    try:
        keys = json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(USAGE) from exc
    if not isinstance(keys, dict):
        raise ValueError(USAGE)  # noqa: TRY004 - of these Pydantic makes a message
    return keys


def check_keys(keys: dict[str, ApiKey], info: ValidationInfo) -> dict[str, ApiKey]:
    """Refuse names that a log cannot show, keys of two callers, and words from examples."""
    if not all(map(CALLER_NAME.fullmatch, keys)):
        raise ValueError("the name of a caller has letters, digits and the signs . _ @ : / -")
    digests = Counter(digest for key in keys.values() for digest in key.sha256)
    if any(count > 1 for count in digests.values()):
        raise ValueError("each key has its own hash, and one name")
    if info.data.get("environment") == "production" and digests.keys() & find_placeholders():
        raise ValueError("one is the hash of a placeholder instead of a secret")
    return keys


def find_placeholders() -> set[str]:
    """Return the hashes of keys that everybody knows."""
    words = {"", "change-me", "change_me", *PLACEHOLDERS}
    return {hash_key(spelled) for word in words for spelled in (word, word.upper())}


ApiKeySettings = Annotated[
    dict[str, ApiKey], NoDecode, BeforeValidator(read_keys), AfterValidator(check_keys)
]
