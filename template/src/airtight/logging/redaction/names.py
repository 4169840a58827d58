"""Which names stand for secrets: of fields, parameters, headers, elements and variables."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

MAX_NAME = 100  # characters; what is longer is judged by its end, next to the value
WORD = re.compile(r"[A-Z]{1,100}(?![a-z])|[A-Z]?[a-z]++|[0-9]++|[A-Z]")

# Secret as a part of any word: `dbpassword`, `PASSWD`, `accesstoken`, `X-CSRFToken`.
PARTS = (
    "passw",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "cookie",
    "credential",
    "authoriz",
    "authoris",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "signature",
    "jwt",
    "csrf",
    "xsrf",
    "sessid",
    "sessionid",
    "cardnumber",
    "creditcard",
    "securitycode",
)
# Secret as whole words: `pin_code` and `userPin`, but neither `pinned` nor `author` nor `compass`.
PHRASES = (
    "access key",
    "api key",
    "auth",
    "bearer",
    "card number",
    "credit card",
    "csc",
    "cvc",
    "cvv",
    "dsn",
    "encryption key",
    "iban",
    "mfa",
    "otp",
    "pass",
    "pin",
    "private key",
    "security code",
    "session",
    "sid",
    "sig",
    "signing key",
    "ssn",
    "totp",
)
# A number under a name with such a word at its end is no secret: `session_count`.
MEASURE_WORDS = """
    age attempts bytes cookies count duration expires failures index length limit max min ms rate
    ratio remaining retries seconds secrets sessions size timeout tokens total ttl
"""
MEASURES = frozenset(MEASURE_WORDS.split())
QUANTITIES = frozenset({"count", "max", "min", "num", "number", "total"})  # at the start of a name
# `InvalidTokenError: ...` in a text is the name of a class.
CLASS_ENDINGS = frozenset({"error", "exception", "warning"})


class SecretNames:
    """Decides which names stand for secrets.

    Args:
        extra: names that a team has added; each is secret as a sequence of whole words, so that
            `customer number` covers `customerNumber` and `main-customer-number`.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        added = [" ".join(split_words(name)) for name in extra]
        self._phrases = tuple(f" {phrase} " for phrase in (*PHRASES, *added) if phrase)
        self._roots = find_roots([*PARTS, *self._phrases])
        self.is_secret = lru_cache(maxsize=4_096)(self._is_secret)

    def _is_secret(self, name: str) -> bool:
        words = split_words(name)
        if not words or words[-1] in CLASS_ENDINGS:
            return False
        text = f" {' '.join(words)} "
        if any(part in text for part in PARTS):
            return True
        return any(phrase in text for phrase in self._phrases)

    def find(self, lowered: str) -> list[int]:
        """Return where in a lower-case text the name of a secret may stand, in order."""
        found: list[int] = []
        for root in self._roots:
            if root in lowered:
                found.extend(_find_all(root, lowered))
        found.sort()
        return found


@lru_cache(maxsize=4_096)
def is_measure(name: str) -> bool:
    """Return whether a name says how many, how long or when, rather than what."""
    words = split_words(name)
    return bool(words) and (words[-1] in MEASURES or words[0] in QUANTITIES)


def split_words(name: str) -> list[str]:
    """Return the words of a name in lower case: of `accessKey`, `ACCESS_KEY` or `x-access.key`."""
    return [word.lower() for word in WORD.findall(name[-MAX_NAME:])]


def find_roots(names: Sequence[str]) -> tuple[str, ...]:
    """Return a few words such that each of the names contains at least one of them."""
    text = " ".join(names)
    roots: list[str] = []
    for name in sorted(names, key=lambda name: (len(name.split()), len(name))):
        if not any(root in name for root in roots):
            roots.append(max(name.split(), key=text.count))  # the word that most names share
    return tuple(roots)


def _find_all(root: str, text: str) -> Iterator[int]:
    position = text.find(root)
    while position >= 0:
        yield position
        position = text.find(root, position + len(root))
