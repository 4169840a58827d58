"""Who calls, once that is proved."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """A caller whom the service knows.

    Attributes:
        subject: what identifies the caller.
        scopes: what the caller may do.
    """

    subject: str
    scopes: frozenset[str] = frozenset()
