"""The callers as whom tests send their requests."""

import contextlib
from collections.abc import Iterator

import pytest

from dev import (
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
    # copier: if auth == "jwt"
    issuer,
    # copier: endif
)

# copier: if auth == "jwt"
ISSUER = issuer.Issuer(name="https://issuer.example.com")
# copier: endif
SUBJECT = "tests"


def credentials(subject: str = SUBJECT, *scopes: str) -> dict[str, str]:
    """Return the headers by which the service knows who calls, and what the caller may do."""
    headers: dict[str, str] = {}
    # copier: if auth == "api_key"
    headers["X-API-Key"] = " ".join(["the key of", subject, *scopes])
    # copier: endif
    # copier: if auth == "jwt"
    headers["Authorization"] = f"Bearer {ISSUER.token(subject, *scopes)}"
    # copier: endif
    return headers


def settings_for(*subjects: str, scopes: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the settings by which the service knows callers, all with the same scopes."""
    settings: dict[str, str] = {}
    # copier: if auth == "api_key"
    keys = {subject: credentials(subject, *scopes)["X-API-Key"] for subject in subjects}
    settings |= api_keys.settings_for(keys, *scopes)
    # copier: endif
    return settings


@pytest.fixture(scope="session", autouse=True)
def known_caller() -> Iterator[None]:
    """Let services know the caller of the tests."""
    with contextlib.ExitStack() as stack:
        settings = settings_for(SUBJECT)
        # copier: if auth == "jwt"
        url = stack.enter_context(issuer.KeyServer(ISSUER).running())
        settings |= issuer.settings_for(ISSUER, url)
        # copier: endif
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in settings.items():
            environment.setenv(name, value)
        yield
