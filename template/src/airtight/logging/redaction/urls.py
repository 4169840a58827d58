"""Passwords in URLs, also those that should have been percent-encoded and hold `@`, `/` or `:`."""

import re
from dataclasses import dataclass

USER_NAME = re.compile(r"://[^\s/:@]*+:")
TO_QUOTE = re.compile(r'[^\s"]*+')
TO_BLANK = re.compile(r"\S*+")
PORT = re.compile(r"""[0-9]{1,5}+(?=[/?#"'\s,)\]}]|\Z)""")


@dataclass(slots=True)
class _Stretch:
    """A stretch of a text without blanks, which is searched for its last `@` only once."""

    pattern: re.Pattern[str]
    end: int = 0
    at_sign: int = -1

    def find_at_sign(self, text: str, start: int) -> int:
        """Return where the last `@` from `start` on is; -1 if there is none."""
        if start >= self.end:
            match = self.pattern.match(text, start)
            self.end = match.end() if match else start
            self.at_sign = text.rfind("@", start, self.end)
        if self.at_sign < start:
            return -1
        return self.at_sign


def redact_url_passwords(text: str, is_cut: bool) -> str:
    """Return a text with `***` in place of the passwords of URLs.

    Args:
        text: the text.
        is_cut: whether the text goes on, so that a password at its end may lack its `@`.
    """
    parts: list[str] = []
    position = 0
    url = _Stretch(TO_QUOTE)
    word = _Stretch(TO_BLANK)
    for match in USER_NAME.finditer(text):
        start = match.end()
        if start <= position:
            continue
        end = url.find_at_sign(text, start)
        if end < 0 and not PORT.match(text, start):
            end = word.find_at_sign(text, start)
            if end < 0 and is_cut and word.end == len(text):
                end = len(text)
        if end >= 0:
            parts.append(f"{text[position:start]}***")
            position = end
    return "".join(parts) + text[position:]
