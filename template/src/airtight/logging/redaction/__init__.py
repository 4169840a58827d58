"""One redaction for whatever leaves the service: records, events, traces, pages.

What is secret goes by its name, its place in a URL or its form. A value is cut before it is
searched, so that its size costs nothing.
"""

import re
import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from .cards import is_card_number, redact_card_numbers
from .names import MAX_NAME, SecretNames, is_measure
from .pairs import redact_pairs
from .urls import redact_url_passwords

HIDDEN = "***"
MAX_TEXT = 2_000  # characters
MAX_ITEMS = 50  # of a list or a dict
MAX_DEPTH = 6
MAX_TOTAL = 16_000  # characters of all texts in one value
ITEM_COST = 10  # characters, so that empty items are bounded, too
OVERLAP = 100  # characters after the cut that are searched, for a secret that stands across it
INTEGERS = range(-(2**63), 2**64)  # what JSON for others may hold
AS_THEY_ARE = (bool, float, type(None))
BYTES = (bytes, bytearray)
MAPPINGS = (dict, Mapping)  # `dict` alone is found faster
SEQUENCES = (list, tuple, set, frozenset)
LABELS = ("name", "key", "field", "header")  # of `{"name": "password", "value": "x"}`

SIGN = re.compile(r"""[=:"'`<%]""")  # where none is, nothing belongs to a name
LONG_NUMBER = re.compile(r"[0-9]{4}[0-9 -]{9}")
WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]++\.[\w.-]++")
AUTHORIZATION = re.compile(r"\b(basic|bearer)(\s{1,3}+)([\w.~+/:=-]++)", re.IGNORECASE)
PLAIN_WORD = re.compile(r"[a-z]++[:=]?+|[A-Z]?[a-z]++")
# `Bearer token is missing` holds no token.
PLAIN_WORDS = """
    and auth authentication authorization credentials error for format has header in is missing not
    or realm required scheme token tokens was with
"""
NOT_CREDENTIALS = frozenset(PLAIN_WORDS.split())


class Redactor:
    """Redacts values and texts.

    Args:
        extra_names: names of fields that are secret besides those that everybody expects.
    """

    def __init__(self, extra_names: Iterable[str] = ()) -> None:
        self._names = SecretNames(extra_names)

    def redact(self, value: Any, max_text: int) -> Any:
        """Return a value that JSON can hold, without secrets, cut to a size someone would read."""
        return _Walk(self, max_text).redact(value, MAX_DEPTH)

    def redact_text(self, text: str, limit: int) -> str:
        """Return a text without secrets, and of at most `limit` characters."""
        rest = len(text) - limit
        if rest <= 0:
            return self._search(text, is_cut=False)
        redacted = self._search(text[: limit + OVERLAP], is_cut=rest > OVERLAP)
        return f"{redacted[:limit]}… ({rest} more)"

    def is_secret(self, name: str, value: Any = ...) -> bool:
        """Return whether the value under a name is secret."""
        if value is None or not self._names.is_secret(name):
            return False
        return not (isinstance(value, int | float) and is_measure(name))

    def _search(self, text: str, is_cut: bool) -> str:
        if "://" in text:
            text = redact_url_passwords(text, is_cut)
        lowered = _lower(text)
        if "--" in text or SIGN.search(text):
            text = redact_pairs(text, lowered, self._names)
        if "bearer" in lowered or "basic" in lowered:
            text = AUTHORIZATION.sub(_redact_authorization, text)
        if "eyJ" in text:
            text = WEB_TOKEN.sub(HIDDEN, text)
        return redact_card_numbers(text)


class _Walk:
    """Redacts one value; `remaining` bounds the texts in it, so that nesting costs nothing."""

    __slots__ = ("_max_text", "_redactor", "_remaining")

    def __init__(self, redactor: Redactor, max_text: int) -> None:
        self._redactor = redactor
        self._max_text = max_text
        self._remaining = MAX_TOTAL

    def redact(self, value: Any, depth: int) -> Any:
        try:
            return self._redact(value, depth)
        except Exception:  # noqa: BLE001 - whatever it is, it is not worth a record
            return f"<{type(value).__qualname__}>"

    def _redact(self, value: Any, depth: int) -> Any:
        self._remaining -= ITEM_COST
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, AS_THEY_ARE):
            return value
        if isinstance(value, int):
            return _redact_number(value)
        if isinstance(value, BYTES):
            text = bytes(value[: self._max_text + OVERLAP]).decode(errors="backslashreplace")
            return repr(self._redact_text(text).encode())
        if depth and isinstance(value, MAPPINGS):
            return self._redact_mapping(value, depth - 1)
        if depth and isinstance(value, SEQUENCES):
            return self._redact_sequence(value, depth - 1)
        return self._redact_text(_describe(value))

    def _redact_text(self, text: str) -> str:
        limit = max(0, min(self._max_text, self._remaining))
        self._remaining -= min(len(text), limit)
        return self._redactor.redact_text(text, limit)

    def _redact_mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        has_secret_label = "value" in value and self._has_secret_label(value)
        for key, item in islice(value.items(), MAX_ITEMS):
            if self._remaining <= 0:
                break
            name = _describe_key(key)
            self._remaining -= len(name)
            is_secret = self._redactor.is_secret(name, item)
            if is_secret or (has_secret_label and name == "value"):
                redacted[name] = HIDDEN
            else:
                redacted[name] = self.redact(item, depth)
        return redacted

    def _has_secret_label(self, value: Mapping[Any, Any]) -> bool:
        """Return whether this is a mapping such as `{"name": "token", "value": "x"}`."""
        labels = [value.get(label) for label in LABELS]
        return any(isinstance(label, str) and self._redactor.is_secret(label) for label in labels)

    def _redact_sequence(self, value: Iterable[Any], depth: int) -> list[Any]:
        redacted: list[Any] = []
        for item in islice(value, MAX_ITEMS):
            if self._remaining <= 0:
                break
            if self._is_secret_pair(item):
                redacted.append([self.redact(item[0], depth), HIDDEN])
            else:
                redacted.append(self.redact(item, depth))
        return redacted

    def _is_secret_pair(self, item: Any) -> bool:
        """Return whether an item is name and value of a secret, as in lists of headers."""
        if not isinstance(item, list | tuple) or len(item) != 2:
            return False
        if not isinstance(item[0], str | bytes):
            return False
        return self._redactor.is_secret(_describe_key(item[0]), item[1])


class _Current:
    """Holds the redactor that is in use; it is another one after `set_redacted_names`."""

    redactor = Redactor()


def set_redacted_names(names: Iterable[str]) -> None:
    """Redact fields of these names, too, wherever they stand."""
    _Current.redactor = Redactor(names)


def redact(value: Any, max_text: int = MAX_TEXT) -> Any:
    """Return a value that JSON can hold, without secrets, cut to a size that someone would read."""
    return _Current.redactor.redact(value, max_text)


def redact_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text without secrets, and of at most `limit` characters."""
    return _Current.redactor.redact_text(text, limit)


def redact_path(path: str) -> str:
    """Return a path without secrets; most have none, which is seen at a glance."""
    if "=" in path or ":" in path or "eyJ" in path or LONG_NUMBER.search(path):
        return redact_text(path)
    return path


def describe(value: Any) -> str:
    """Return a value as a text, whatever it is; a class name if it has none."""
    try:
        return _describe(value)
    except Exception:  # noqa: BLE001 - also what a `__str__` raises
        return f"<{type(value).__qualname__}>"


def _describe(value: Any) -> str:
    if isinstance(value, (MAPPINGS, SEQUENCES)):
        return reprlib.repr(value)  # bounded in depth and size
    return str(value)


def _describe_key(key: Any) -> str:
    if isinstance(key, str):
        return key[:MAX_NAME]
    if isinstance(key, bytes):
        return key[:MAX_NAME].decode(errors="backslashreplace")
    return describe(key)[:MAX_NAME]


def _redact_number(number: int) -> int | str:
    if is_card_number(number):
        return HIDDEN
    if number not in INTEGERS:
        return f"<an integer of {number.bit_length()} bits>"  # Python refuses to convert long ones
    return number


def _lower(text: str) -> str:
    """Return a text in lower case and of the same length; of `İ` Python makes two characters."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text.replace("İ", "i").lower()
    return lowered


def _redact_authorization(match: re.Match[str]) -> str:
    scheme, blanks, credentials = match.groups()
    is_word = PLAIN_WORD.fullmatch(credentials) is not None
    if is_word and (scheme.lower() == "basic" or credentials.rstrip(":=") in NOT_CREDENTIALS):
        return match[0]
    return f"{scheme}{blanks}{HIDDEN}"
