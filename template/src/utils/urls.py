"""Checks for the URLs of stores, in the forms in which tools and providers write them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from pydantic import BeforeValidator, Secret, ValidationInfo

from src.utils.placeholders import is_placeholder

HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")


@dataclass(frozen=True)
class Credentials:
    """The user in a URL, and the passwords: in front of the host, or a parameter."""

    user: str
    passwords: list[str]


class InvalidUrlError(ValueError):
    """The URL of a store cannot be used; the text says how to fix it."""


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL; raises InvalidUrlError where the password is not encoded."""
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    if "#" in rest:
        raise _not_encoded("#")
    if "@" not in authority and "@" in path:
        raise _not_encoded("/")
    if "@" not in authority and "@" in query and not _is_address(authority):
        raise _not_encoded("?")
    for character in "[]":
        if character in authority.rpartition("@")[0]:
            raise _not_encoded(character)
    return urlsplit(url)


def _is_address(authority: str) -> bool:
    return all(HOST_AND_PORT.fullmatch(host) for host in authority.split(","))


def _not_encoded(character: str) -> InvalidUrlError:
    return InvalidUrlError(
        f"a {character} in the password must be written as {quote(character, safe='')}"
    )


def query_of(parts: SplitResult) -> dict[str, str]:
    """Return the parameters of a URL; of one that is repeated, the last."""
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def check_parameters(
    parameters: Mapping[str, str],
    known: Mapping[str, Sequence[str]],
    instead: Mapping[str, str],
) -> None:
    """Refuse parameters that have no meaning here.

    Args:
        parameters: of a URL.
        known: the values that each parameter can have; none means any.
        instead: what to do instead of using a parameter.

    Raises:
        InvalidUrlError: A parameter or its value is not known.
    """
    for name, value in parameters.items():
        if name in instead:
            raise InvalidUrlError(f"the parameter {name} has no effect: {instead[name]}")
        if name not in known:
            raise InvalidUrlError(f"the parameter {name} is unknown: remove it")
        choices = known[name]
        if choices and value not in choices:
            raise InvalidUrlError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}")


def check_files(parameters: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse files that do not exist.

    Args:
        parameters: of a URL.
        names: those of the parameters that name a file.

    Raises:
        InvalidUrlError: A file does not exist.
    """
    for name in names:
        if name in parameters and not Path(parameters[name]).is_file():
            raise InvalidUrlError(f"{name} names a file that does not exist")


def find_credentials(url: str) -> Credentials:
    """Return the credentials in a URL, decoded."""
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    passwords = [unquote(password), query_of(parts).get("password", "")]
    return Credentials(unquote(user), [password for password in passwords if password])


def refuse_placeholder(url: Secret[Any], info: ValidationInfo) -> object:
    """Refuse, outside development, a password that everybody knows."""
    if info.data.get("environment") != "production":
        return url
    credentials = find_credentials(str(url.get_secret_value()))
    for password in credentials.passwords:
        if is_placeholder(password) or password == credentials.user:
            raise InvalidUrlError("it holds a placeholder instead of a password")
    return url


def before_parsing(check: Callable[[str], str]) -> BeforeValidator:
    """Return what has Pydantic check, and rewrite, the text of a URL before it is parsed."""
    return BeforeValidator(lambda url: check(url) if isinstance(url, str) else url)
