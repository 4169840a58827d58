"""The callers whose keys are in the settings."""

import secrets
from collections.abc import Mapping

from src.config import Settings, refuse
from src.services.callers import Principal
from src.utils.api_keys import ApiKey, hash_key
from src.utils.errors import NotAuthenticatedError


class ApiKeys:
    """Knows callers by their keys.

    Args:
        settings: what is known of each caller's key, by the name of the caller.
    """

    def __init__(self, settings: Mapping[str, ApiKey]) -> None:
        self._hashes: list[tuple[str, Principal]] = []
        for name, known in settings.items():
            principal = Principal(name, frozenset(known.scopes))
            self._hashes += [(digest, principal) for digest in known.sha256]

    def find(self, key: str) -> Principal:
        """Return whose key this is; how long that takes says nothing about the keys.

        Raises:
            NotAuthenticatedError: the key is nobody's.
        """
        digest = hash_key(key)
        found: Principal | None = None
        for known, principal in self._hashes:
            if secrets.compare_digest(known, digest):
                found = principal
        if found is None:
            raise NotAuthenticatedError("unknown key")
        return found


def require_keys(settings: Settings) -> None:
    """End the process if in production nobody could call the service."""
    if settings.environment == "production" and not settings.api_keys:
        refuse("api_keys: none is set; `python -m dev api-key NAME` makes one")
