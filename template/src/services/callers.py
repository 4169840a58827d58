"""Who calls, once that is proved."""

from dataclasses import dataclass

from src.config import Settings, refuse


@dataclass(frozen=True)
class Principal:
    """A caller whom the service knows.

    Attributes:
        subject: what identifies the caller.
        scopes: what the caller may do.
    """

    subject: str
    scopes: frozenset[str] = frozenset()


def require_callers(settings: Settings) -> None:
    """End the process if in production nobody could call the service."""
    if settings.environment != "production":
        return
    # copier: if auth == "api_key"
    if not settings.api_keys:
        refuse("api_keys: none is set; `python -m dev api-key NAME` makes one")
    # copier: endif
